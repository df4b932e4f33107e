//! A transcript of what a connection does with the bytes of a client, so that two ways of cutting them can be compared.

use std::fmt::Write as _;
use std::net::IpAddr;

use rwsgi::http::forwarded::{check_names, field_policy, scheme};
use rwsgi::http::proxy::opening;
use rwsgi::http::{
    BodyDecoder, BodyLength, Head, Limits, Opening, Progress, Proxied, ProxyMode, ProxyRules, Reject, Request, Trust,
    lenient,
};

/// The rules of a conversation.
#[derive(Default)]
pub(crate) struct Rules {
    pub(crate) limits: Limits,
    /// The peer and its trust; without it, trust is not in the transcript.
    pub(crate) asked: Option<Asked>,
}

/// The peer of a connection, and the proxies that are trusted.
pub(crate) struct Asked {
    /// `None` on a Unix socket.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) trust: Trust,
    /// The PROXY headers that are accepted.
    pub(crate) proxy: ProxyRules,
}

/// Reads `bytes` as a connection does, in pieces of `size(offset)`, and returns the transcript.
pub(crate) fn converse(bytes: &[u8], rules: &Rules, mut size: impl FnMut(usize) -> usize) -> String {
    let mut transcript = String::new();
    let (mut head, mut received, mut end) = (Head::default(), Vec::new(), 0);
    let mut awaits_proxy = rules.asked.as_ref().is_some_and(|asked| asked.proxy.mode != ProxyMode::Off);
    let mut body: Option<(BodyDecoder, Vec<u8>)> = None;
    while end < bytes.len() {
        let piece = &bytes[end..bytes.len().min(end + size(end))];
        received.extend_from_slice(piece);
        end += piece.len();
        while let Some(used) = open(&mut awaits_proxy, &received, rules, &mut transcript)
            .and_then(|begun| match begun {
                Begun::Waits => Ok(None),
                Begun::Header(used) => Ok(Some(used)),
                Begun::Request => step(&mut head, &mut body, &mut received, rules, &mut transcript),
            })
            .unwrap_or_else(|reject| {
                let hint = reject.hint().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
                writeln!(transcript, "refused {}: {reject}{hint}", reject.status()).unwrap();
                None
            })
        {
            received.drain(..used);
        }
        if is_refused(&transcript) {
            return transcript;
        }
    }
    if !received.is_empty() || body.is_some() {
        transcript.push_str("needs more\n");
    }
    transcript
}

/// True if a conversation ended in a refusal. A client may write the word, too, but not at the start of a line.
pub(crate) fn is_refused(transcript: &str) -> bool {
    transcript.lines().next_back().is_some_and(|line| line.starts_with("refused "))
}

/// The state of a connection's beginning.
enum Begun {
    /// It waits for more.
    Waits,
    /// A header, with its length in bytes.
    Header(usize),
    /// A request follows.
    Request,
}

/// Reads the beginning of a connection.
fn open(awaits_proxy: &mut bool, bytes: &[u8], rules: &Rules, transcript: &mut String) -> Result<Begun, Reject> {
    let Some(asked) = rules.asked.as_ref().filter(|_| *awaits_proxy) else { return Ok(Begun::Request) };
    let opening = opening(bytes, asked.peer, &asked.proxy)?;
    *awaits_proxy = opening == Opening::NeedMore;
    Ok(match opening {
        Opening::NeedMore => Begun::Waits,
        Opening::Plain => Begun::Request,
        Opening::Header { used, proxied } => {
            match proxied {
                Some(said @ Proxied { source, destination }) => {
                    writeln!(transcript, "proxied {} {source} to {destination}", said.protocol()).unwrap();
                }
                None => transcript.push_str("proxied, nothing said\n"),
            }
            Begun::Header(used)
        }
    })
}

/// Does one step of a connection, and returns the number of bytes used, or `None` if it waits for more.
fn step(
    head: &mut Head,
    body: &mut Option<(BodyDecoder, Vec<u8>)>,
    bytes: &mut Vec<u8>,
    rules: &Rules,
    transcript: &mut String,
) -> Result<Option<usize>, Reject> {
    let Some((decoder, payload)) = body else {
        let progress = lenient::parse(head, bytes, &rules.limits);
        assert_eq!(progress, lenient::parse(head, bytes, &rules.limits), "asked again, it says the same");
        assert!(head.so_far(bytes).is_none_or(|request| !request.method().is_empty() && !request.target().is_empty()));
        let Progress::Complete { used } = progress? else {
            return Ok(None);
        };
        let request = head.of(bytes);
        let asked = rules.asked.as_ref().map(|asked| ask(request, asked)).transpose()?;
        describe(request, transcript);
        transcript.extend(asked);
        let length = request.body_length();
        if length != BodyLength::None {
            *body = Some((BodyDecoder::new(length, &rules.limits), Vec::new()));
        }
        head.reset();
        return Ok(Some(used));
    };
    let room = ROOM.min(bytes.len().max(1));
    let used = decoder.decode(bytes, payload, room)?;
    if decoder.is_done() {
        match payload.len() {
            0..=100 => writeln!(transcript, "body \"{}\"", payload.escape_ascii()).unwrap(),
            length => writeln!(transcript, "body of {length} bytes").unwrap(),
        }
        *body = None;
        return Ok(Some(used));
    }
    Ok((used > 0).then_some(used))
}

/// Returns what trusted proxies report about a request, a line each.
fn ask(request: Request<'_>, asked: &Asked) -> Result<String, Reject> {
    check_names(request, asked.peer, &asked.trust)?;
    let mut said =
        format!("scheme {}\n", scheme(request, rwsgi::http::Scheme::Http, asked.peer, &asked.trust)?.as_str());
    for (name, _) in request.fields().filter(|(name, _)| name.contains(&b'_')) {
        let policy = field_policy(name, asked.peer, &asked.trust);
        writeln!(said, "{} {policy:?}", name.escape_ascii()).unwrap();
    }
    Ok(said)
}

/// Describes a request, a line for each part.
pub(crate) fn describe(request: Request<'_>, transcript: &mut String) {
    let mut line = |line: String| writeln!(transcript, "{line}").unwrap();
    let text = |bytes: &[u8]| match bytes.len() {
        0..=100 => bytes.escape_ascii().to_string(),
        length => format!("({length} bytes)"),
    };
    line(format!("{} {} {}", text(request.method()), text(request.target()), request.version().as_str()));
    line(format!("path \"{}\" query \"{}\"", text(request.path()), text(request.query())));
    for (name, value) in request.fields() {
        line(format!("field {}: {}", text(name), text(value)));
    }
    let keep = if request.wants_keep_alive() { "keep-alive" } else { "close" };
    let expects = if request.expects_continue() { ", expects 100" } else { "" };
    line(format!("{:?}, {keep}{expects}", request.body_length()));
}

/// Checks that an accepted head is read as the plainest reader reads it: lines that end in CRLF, three words with one blank
/// between, names up to the first colon. Strictness adds refusals, never another reading.
pub(crate) fn assert_plain_reading(bytes: &[u8], limits: &Limits) {
    let mut head = Head::default();
    let Ok(Progress::Complete { used }) = head.parse(bytes, limits) else {
        return;
    };
    let request = head.of(bytes);
    let text = bytes[..used].strip_suffix(b"\r\n").unwrap();
    let text = text.strip_prefix(b"\r\n").unwrap_or(text);
    let mut lines = text.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r\n").unwrap());
    let words: Vec<&[u8]> = lines.next().unwrap().split(|&byte| byte == b' ').collect();
    let folded = words[0].to_ascii_uppercase();
    let method = if limits.leniency.casefold_method { &folded } else { words[0] };
    assert_eq!((words.len(), method, words[1]), (3, request.method(), request.target()));
    let fields = lines.map(|line| {
        let colon = line.iter().position(|&byte| byte == b':').unwrap();
        (&line[..colon], trim(&line[colon + 1..]))
    });
    // The authority of an absolute target takes the place of Host.
    let is_other = |(name, _): &(&[u8], &[u8])| !name.eq_ignore_ascii_case(b"host");
    assert!(request.fields().filter(is_other).eq(fields.filter(is_other)), "{}", bytes.escape_ascii());
}

fn trim(value: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_blank(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_blank(byte)).map_or(start, |at| at + 1);
    &value[start..end]
}

/// Small, so that a body takes several calls.
const ROOM: usize = 5;
