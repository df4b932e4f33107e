/* The floor: what a WSGI request costs when the server does next to nothing.
 *
 *     python -c 'import floor; floor.main()' [-c] [-n PROCESSES] PORT MODULE[:CALLABLE] [TARGET]
 *     python -c 'import floor; floor.main()' [-c] [-n PROCESSES] PORT
 *
 * An extension module: the interpreter that runs it is the one that rwsgi executes, linked as that one is.
 * One thread, one epoll, the interpreter held all the time. It reads until an empty line, copies a ready environ (the
 * keys that rwsgi gives for wrk's GET of TARGET; checks.py holds them equal), calls the application, joins head and
 * body and sends them with one call. It parses nothing, checks nothing, knows no request bodies, no pipelining, no time
 * limits and no shutdown: it is a yardstick, not a server.
 * The application has to give a Content-Length, or -c has to be said: a body is never chunked.
 * Without an application nothing is called: the same loop sends the bytes of hello.py, the floor below the floor.
 * -c ends each connection after its answer, whatever the client asked for.
 * -n forks before the application is loaded; each process has an epoll of its own on one listening socket.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

/* What wrk, ab, curl or a browser sends fits many times. */
enum { HEAD_ROOM = 16384, EVENTS = 64, BACKLOG = 2048 };

struct connection {
    int fd;
    size_t used;
    char bytes[HEAD_ROOM];
};

struct text {
    char *bytes;
    size_t used, room;
};

static PyObject *application, *environ_template, *start_response;
static PyObject *status, *headers; /* what start_response was told for the request being answered */
static struct text answer;
static char date_line[64];
/* With -c the answer says so, as every server's does: clients would take the end for an error. */
static const char *connection_line = "";

static void die(const char *what)
{
    if (Py_IsInitialized() && PyErr_Occurred())
        PyErr_Print();
    else
        perror(what);
    fprintf(stderr, "floor: %s\n", what);
    exit(1);
}

static void append(struct text *text, const char *bytes, size_t length)
{
    if (text->used + length > text->room) {
        text->room = (text->used + length) * 2;
        text->bytes = realloc(text->bytes, text->room);
        if (!text->bytes)
            die("out of memory");
    }
    memcpy(text->bytes + text->used, bytes, length);
    text->used += length;
}

static void append_str(struct text *text, PyObject *str)
{
    Py_ssize_t length;
    const char *bytes = PyUnicode_AsUTF8AndSize(str, &length);
    if (!bytes)
        die("a status or header is not a str");
    append(text, bytes, (size_t)length);
}

static void append_chunk(struct text *text, PyObject *chunk)
{
    if (!PyBytes_Check(chunk))
        die("a body chunk is not bytes");
    append(text, PyBytes_AS_STRING(chunk), (size_t)PyBytes_GET_SIZE(chunk));
}

static PyObject *on_start_response(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    (void)self;
    if (count < 2 || !PyList_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "start_response(status, headers)");
        return NULL;
    }
    Py_XSETREF(status, Py_NewRef(args[0]));
    Py_XSETREF(headers, Py_NewRef(args[1]));
    Py_RETURN_NONE;
}

static PyMethodDef start_response_method = {
    "start_response", (PyCFunction)(void (*)(void))on_start_response, METH_FASTCALL, NULL};

static void append_head(struct text *text)
{
    if (!status)
        die("the application did not call start_response");
    append(text, "HTTP/1.1 ", 9);
    append_str(text, status);
    append(text, "\r\nServer: floor\r\n", 17);
    append(text, date_line, sizeof "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" - 1);
    append(text, connection_line, strlen(connection_line));
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(headers); i++) {
        PyObject *pair = PyList_GET_ITEM(headers, i);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2)
            die("a header is not a pair");
        append_str(text, PyTuple_GET_ITEM(pair, 0));
        append(text, ": ", 2);
        append_str(text, PyTuple_GET_ITEM(pair, 1));
        append(text, "\r\n", 2);
    }
    append(text, "\r\n", 2);
}

static void append_body(struct text *text, PyObject *body)
{
    if (PyList_CheckExact(body)) {
        append_head(text);
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(body); i++)
            append_chunk(text, PyList_GET_ITEM(body, i));
        return;
    }
    PyObject *chunks = PyObject_GetIter(body), *chunk;
    if (!chunks)
        die("the body cannot be iterated");
    /* A generator calls start_response no sooner than for its first chunk. */
    bool head = false;
    while ((chunk = PyIter_Next(chunks))) {
        if (!head)
            append_head(text);
        head = true;
        append_chunk(text, chunk);
        Py_DECREF(chunk);
    }
    Py_DECREF(chunks);
    if (PyErr_Occurred())
        die("the body raised");
    if (!head)
        append_head(text);
    PyObject *close = PyObject_GetAttrString(body, "close");
    if (!close)
        return PyErr_Clear();
    PyObject *closed = PyObject_CallNoArgs(close);
    if (!closed)
        die("close() raised");
    Py_DECREF(closed);
    Py_DECREF(close);
}

static void call_application(struct text *text)
{
    PyObject *environ = PyDict_Copy(environ_template);
    PyObject *args[] = {environ, start_response};
    PyObject *body = environ ? PyObject_Vectorcall(application, args, 2, NULL) : NULL;
    if (!body)
        die("the application raised");
    text->used = 0;
    append_body(text, body);
    Py_DECREF(body);
    Py_DECREF(environ);
    Py_CLEAR(status);
    Py_CLEAR(headers);
}

/* What hello.py would have said. */
static void say_hello(struct text *text)
{
    static const char start[] = "HTTP/1.1 200 OK\r\nServer: floor\r\n";
    static const char rest[] = "Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, World!";
    text->used = 0;
    append(text, start, sizeof start - 1);
    append(text, date_line, sizeof "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" - 1);
    append(text, connection_line, strlen(connection_line));
    append(text, rest, sizeof rest - 1);
}

static bool send_all(int fd, const struct text *text)
{
    for (size_t sent = 0; sent < text->used;) {
        ssize_t n = send(fd, text->bytes + sent, text->used - sent, MSG_NOSIGNAL);
        if (n < 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

/* One read for each readiness. It takes all there is, as a request is far smaller than the room. False: the connection
 * is over. */
static bool serve(struct connection *connection, bool close_after)
{
    ssize_t n = recv(connection->fd, connection->bytes + connection->used, HEAD_ROOM - connection->used, 0);
    if (n <= 0)
        return false;
    connection->used += (size_t)n;
    if (!memmem(connection->bytes, connection->used, "\r\n\r\n", 4))
        return connection->used < HEAD_ROOM;
    connection->used = 0;
    if (application)
        call_application(&answer);
    else
        say_hello(&answer);
    return send_all(connection->fd, &answer) && !close_after;
}

static void watch(int epoll, int fd, void *whose)
{
    /* Edge-triggered: the kernel need not look at a connection again that was just answered. */
    struct epoll_event event = {.events = EPOLLIN | (whose ? EPOLLET : EPOLLEXCLUSIVE), .data.ptr = whose};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void accept_one(int epoll, int listener)
{
    int yes = 1, fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct connection *connection = malloc(sizeof *connection);
    if (!connection)
        die("out of memory");
    connection->fd = fd;
    connection->used = 0;
    watch(epoll, fd, connection);
}

static void loop(int listener, bool close_after)
{
    struct epoll_event events[EVENTS];
    time_t second = 0;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, listener, NULL);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        time_t now = time(NULL);
        if (now != second) {
            struct tm utc;
            strftime(date_line, sizeof date_line, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&now, &utc));
            second = now;
        }
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection) {
                accept_one(epoll, listener);
            } else if (!serve(connection, close_after)) {
                close(connection->fd);
                free(connection);
            }
        }
    }
}

static int listen_on(const char *port)
{
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, BACKLOG) < 0)
        die("bind");
    return fd;
}

static const char *prepare =
    "import importlib, io, sys\n"
    "from urllib.parse import unquote_to_bytes\n"
    "sys.path.insert(0, '')\n"
    "module, _, name = app.partition(':')\n"
    "application = getattr(importlib.import_module(module), name or 'application')\n"
    "path, _, query = target.partition('?')\n"
    "environ = {\n"
    "    'REQUEST_METHOD': 'GET', 'SCRIPT_NAME': '', 'PATH_INFO': unquote_to_bytes(path).decode('latin-1'),\n"
    "    'QUERY_STRING': query, 'RAW_URI': target, 'SERVER_PROTOCOL': 'HTTP/1.1', 'SERVER_SOFTWARE': 'floor',\n"
    "    'SERVER_NAME': '127.0.0.1', 'SERVER_PORT': port, 'REMOTE_ADDR': '127.0.0.1', 'REMOTE_PORT': '40000',\n"
    "    'HTTP_HOST': '127.0.0.1:' + port,\n"
    "    'wsgi.version': (1, 0), 'wsgi.url_scheme': 'http', 'wsgi.input': io.BytesIO(), 'wsgi.errors': sys.stderr,\n"
    "    'rwsgi.RequestTimeout': BaseException, 'rwsgi.extend_deadline': len, 'wsgi.early_hints': len,\n"
    "    'gunicorn.socket': None,\n"
    "    'wsgi.multithread': False, 'wsgi.multiprocess': False, 'wsgi.run_once': False,\n"
    "    'wsgi.input_terminated': True, 'wsgi.file_wrapper': lambda file, size=65536: iter(lambda: file.read(size), b''),\n"
    "}\n";

static void load(const char *port, const char *app, const char *target)
{
    PyObject *names = Py_BuildValue("{s:s,s:s,s:s}", "port", port, "app", app, "target", target);
    if (!names || PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins()) < 0)
        die("names");
    if (!PyRun_String(prepare, Py_file_input, names, names))
        die("the application cannot be loaded");
    application = Py_NewRef(PyDict_GetItemString(names, "application"));
    environ_template = Py_NewRef(PyDict_GetItemString(names, "environ"));
    start_response = PyCFunction_New(&start_response_method, NULL);
    Py_DECREF(names);
}

static void fork_to(int processes)
{
    for (; processes > 1; processes--) {
        pid_t pid = fork();
        if (pid < 0)
            die("fork");
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            return;
        }
    }
}

/* Never returns. Ctrl-C and SIGTERM end it as they end any C program. */
static PyObject *run(PyObject *self, PyObject *nothing)
{
    (void)self, (void)nothing;
    int argc;
    wchar_t **wide;
    char *words[16] = {NULL};
    bool close_after = false;
    int processes = 1;
    Py_GetArgcArgv(&argc, &wide);
    /* sys.argv begins at "-c". */
    int first = 1;
    while (first < argc && wcscmp(wide[first], L"-c"))
        first++;
    argc = argc - first - 1 < 15 ? argc - first - 1 : 15;
    for (int i = 0; i < argc; i++)
        words[i] = Py_EncodeLocale(wide[first + 1 + i], NULL);
    for (int option; (option = getopt(argc, words, "+cn:")) != -1;) {
        if (option == 'c')
            close_after = true, connection_line = "Connection: close\r\n";
        else if (option == 'n')
            processes = atoi(optarg);
        else
            exit(2);
    }
    char **argv = words + optind;
    argc -= optind;
    if (argc < 1) {
        fprintf(stderr, "usage: floor [-c] [-n PROCESSES] PORT [MODULE[:CALLABLE] [TARGET]]\n");
        exit(2);
    }
    signal(SIGINT, SIG_DFL);
    int listener = listen_on(argv[0]);
    fork_to(processes);
    if (argc > 1)
        load(argv[0], argv[1], argc > 2 ? argv[2] : "/");
    loop(listener, close_after);
    return NULL;
}

static PyMethodDef methods[] = {{"main", run, METH_NOARGS, "Serves until it is killed."}, {0}};
static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "floor", .m_size = -1, .m_methods = methods};

PyMODINIT_FUNC PyInit_floor(void)
{
    return PyModule_Create(&module);
}
