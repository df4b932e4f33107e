//! Tests of verbs and the text of answers.

use super::words::span;
use super::*;

#[test]
fn words_after_a_verb_are_understood_or_refused() {
    for (verb, words, expected) in [
        (Command::Scale, &["+1"][..], Ok(ControlRequest::Scale(Scale::More(1)))),
        (Command::Scale, &["-2"], Ok(ControlRequest::Scale(Scale::Fewer(2)))),
        (Command::Scale, &["3"], Ok(ControlRequest::Scale(Scale::To(3)))),
        (Command::Scale, &[], Err("expected +N, -N or N workers, found nothing")),
        (Command::Scale, &["++1"], Err("expected +N, -N or N workers, found \"++1\"")),
        (Command::Scale, &["1", "2"], Err("expected +N, -N or N workers, found also \"2\"")),
        (Command::Stack, &[], Ok(ControlRequest::Stack(None))),
        (Command::Stack, &["0"], Ok(ControlRequest::Stack(Some(0)))),
        (Command::Recycle, &["x"], Err("expected the number of a slot, found \"x\"")),
        (Command::Recycle, &["1", "2"], Err("expected one slot, found also \"2\"")),
        (Command::Status, &["now"], Err("expected nothing after status, found \"now\"")),
        (Command::Reload, &[], Ok(ControlRequest::Reload { wait: true })),
        (Command::Rest, &[], Err("expected a verb, found a command that only a signal gives")),
    ] {
        assert_eq!(
            ControlRequest::from_words(verb, words, true),
            expected.map_err(str::to_owned),
            "{verb:?} {words:?}"
        );
    }
}

#[test]
fn a_scale_never_goes_below_none() {
    let scales = [Scale::More(2), Scale::Fewer(9), Scale::To(4)];
    assert_eq!(scales.map(|scale| scale.from(3)), [5, 0, 4]);
    assert_eq!(scales.map(|scale| scale.to_string()), ["+2", "-9", "4"]);
}

#[test]
fn everything_crosses_the_socket_as_one_line() {
    let answers = [
        Answer::Begun,
        Answer::Done("two\nlines".to_owned()),
        Answer::Status(Box::new(status())),
        Answer::Requests(vec![running()]),
        Answer::Stacks(vec![stack()]),
    ];
    for answer in answers {
        let line = serde_json::to_string(&answer).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Answer>(&line).unwrap(), answer);
    }
}

fn status() -> Status {
    let worker = |slot, state: &str| WorkerStatus {
        slot,
        pid: (state != "booting").then_some(4711 + i32::try_from(slot).unwrap()),
        generation: 2,
        state: state.to_owned(),
        requests: 12,
        running: 1,
        connections: ConnectionCounts { idle: 3, silent: 1, application: 1, ..ConnectionCounts::default() },
    };
    Status {
        version: "0.1.0".to_owned(),
        pid: 4700,
        state: "serving".to_owned(),
        seconds: 11_530.5,
        app: "mysite.wsgi".to_owned(),
        listening: vec!["http://127.0.0.1:8000".to_owned(), "unix:/run/app.sock".to_owned()],
        generation: 2,
        wanted: 2,
        workers: vec![worker(0, "ready"), worker(10, "booting")],
        failure: Some("no module named x\nTraceback".to_owned()),
        new_master: None,
        scaling: None,
    }
}

fn stack() -> Stack {
    let thread = |thread, ident, request: Option<&str>| ThreadStatus {
        thread,
        ident,
        seconds: request.map(|_| 1.23),
        request: request.map(str::to_owned),
    };
    let text = "Thread 0x00000000000000ff [x] (most recent call first):\n  File \"a.py\", line 2 in f\n  File \"a.py\", line 1 in application\n\n\
                Thread 0x0000000000000001 (most recent call first):\n  File \"b.py\", line 3 in g\n\n\
                Current thread 0x00000000000000aa (most recent call first):\n  File \"c.py\", line 4 in h\n";
    Stack {
        slot: 1,
        pid: 7,
        text: Some(text.to_owned()),
        threads: vec![thread(0, 0xaa, None), thread(1, 0xff, Some("GET / HTTP/1.1")), thread(2, 0, None)],
    }
}

#[test]
fn stacks_name_the_threads_that_serve_by_number_and_say_what_they_do() {
    let text = "slot 1, pid 7, 1 request under way
thread 1, for 1.2 s in GET / HTTP/1.1 [x] (most recent call last):
  File \"a.py\", line 1 in application
  File \"a.py\", line 2 in f

Thread 0x0000000000000001 (most recent call last):
  File \"b.py\", line 3 in g
idle: thread 0";
    assert_eq!(stack().to_string(), text);
    let mut idle = stack();
    idle.threads[1].request = None;
    let text = "slot 1, pid 7, idle: no request is under way
Thread 0x0000000000000001 (most recent call last):
  File \"b.py\", line 3 in g
idle: threads 0, 1";
    assert_eq!(idle.to_string(), text);
    let booting = Stack { threads: Vec::new(), ..stack() };
    let text = "slot 1, pid 7\nThread 0x00000000000000ff [x] (most recent call last):\n  File \"a.py\", line 1 in app";
    assert!(booting.to_string().starts_with(text), "{booting}");
    assert!(
        booting.to_string().contains("\n\nCurrent thread 0x00000000000000aa (most recent call last):\n"),
        "{booting}"
    );
    let silent = Stack { text: None, ..stack() };
    assert_eq!(silent.to_string(), "slot 1, pid 7\n  no answer: it is stopped, or has not loaded the application");
}

#[test]
fn status_says_how_the_number_of_workers_follows_the_load() {
    let mut scaling = ScalingStatus { workers_min: 2, workers_max: 6, busy: None, waiting: None, last_change: None };
    assert_eq!(scaling.to_string(), "2 to 6 workers as the load asks");
    let why = "there is much to do".to_owned();
    scaling.last_change = Some(ScalingChange { from: 2, to: 3, seconds: 72.0, why });
    (scaling.busy, scaling.waiting) = (Some(71), Some(0));
    let says =
        "2 to 6 workers as the load asks: 71% busy, 0 connections wait; 2 became 3 1 min 12 s ago: there is much to do";
    let scaled = Status { scaling: Some(scaling), failure: None, ..status() };
    let text = Answer::Status(Box::new(scaled)).to_string();
    assert!(text.contains(&format!("workers ready\n{says}\n\nslot")), "{text}");
}

fn running() -> Running {
    Running { slot: 3, pid: 4714, thread: 1, seconds: 12.34, request: "GET /polls/ HTTP/1.1".to_owned() }
}

#[test]
fn people_get_tables() {
    assert_eq!(
        Answer::Status(Box::new(status())).to_string(),
        "serving for 3 h 12 min, pid 4700, rwsgi 0.1.0
mysite.wsgi at http://127.0.0.1:8000, unix:/run/app.sock
generation 2, 1 of 2 workers ready
the last reload failed: no module named x

slot  pid   state    generation  requests  under way
0     4711  ready    2           12        1
10    -     booting  2           12        1

connections: 6 idle, 2 silent, 0 reading, 0 waiting for a thread, 2 in the application, 0 writing"
    );
    let stopping = Status { state: "stopping".to_owned(), listening: Vec::new(), failure: None, ..status() };
    let text = Answer::Status(Box::new(stopping)).to_string();
    let head = "stopping, up 3 h 12 min, pid 4700, rwsgi 0.1.0\nmysite.wsgi, listening no longer\ngeneration 2, ";
    assert!(text.starts_with(head), "{text}");
    let upgraded = Status { new_master: Some(4711), failure: None, ..status() };
    let text = Answer::Status(Box::new(upgraded)).to_string();
    assert!(text.contains("workers ready\nan upgrade is under way: a new master serves"), "{text}");
    let mut spent = Status { failure: None, ..status() };
    spent.workers.iter_mut().for_each(|worker| worker.state = "spent".to_owned());
    let text = Answer::Status(Box::new(spent)).to_string();
    assert!(text.contains("generation 2, 2 of 2 workers ready, 2 to be replaced\n\n"), "{text}");
    assert_eq!(
        Answer::Requests(vec![running()]).to_string(),
        "slot  thread  pid   for     request\n3     1       4714  12.3 s  GET /polls/ HTTP/1.1"
    );
    assert_eq!(Answer::Requests(Vec::new()).to_string(), "no request is under way");
}

#[test]
fn a_time_is_its_two_largest_units() {
    for (seconds, expected) in [
        (0.9, "0 s"),
        (61.0, "1 min 1 s"),
        (3_600.0, "1 h 0 min"),
        (90_000.0, "1 d 1 h"),
        (-1.0, "0 s"),
        (f64::NAN, "0 s"),
    ] {
        assert_eq!(span(seconds), expected);
    }
}
