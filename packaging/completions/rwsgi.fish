# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rwsgi_global_optspecs
    string join \n chdir= pythonpath= e/env= env-file= python= preload warmup= warmup-required b/bind= backlog= reuse-port m/umask= unix-socket-mode= w/workers= workers-min= workers-max= workers-step= workers-cooldown= busyness-max= busyness-min= idle= die-on-idle k/worker-class= threads= worker-connections= queue-timeout= t/timeout= timeout-mode= timeout-grace= boot-timeout= graceful-timeout= shutdown-delay= max-requests= max-requests-jitter= max-worker-lifetime= max-worker-lifetime-jitter= reload-on-rss= reload-check= reload-step= reload-order= reload reload-engine= reload-extra-file= lame-duck= keep-alive= client-header-timeout= client-body-timeout= minimum-receive-rate= send-timeout= minimum-send-rate= lingering-timeout= post-buffering= request-memory= spill-limit= response-memory= spill-space= worker-tmp-dir= limit-request-line= limit-request-fields= limit-request-field-size= limit-request-head= limit-request-body= forwarded-allow-ips= forwarder-headers= header-map= proxy-protocol= proxy-allow-from= permit-obsolete-folding strip-header-spaces permit-unconventional-http-method permit-unconventional-http-version casefold-http-method error-pages= certfile= keyfile= ca-certs= cert-reqs= ssl-version= ciphers= do-handshake-on-connect suppress-ragged-eofs u/user= g/group= D/daemon p/pid= control-socket= limit-nofile= limit-as= n/name= error-logfile= log-level= log-format= access-logfile= access-logformat= access-log-skip= capture-output R/enable-stdio-inheritance logger-class= log-config= log-config-json= log-syslog log-syslog-to= log-syslog-prefix= log-syslog-facility= disable-redirect-access-to-syslog statsd-host= statsd-prefix= dogstatsd-tags= enable-backlog-metric c/config= h/help help-all v/version wait json within= check-config print-config
end

function __fish_rwsgi_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rwsgi_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rwsgi_using_subcommand
    set -l cmd (__fish_rwsgi_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rwsgi -n "__fish_rwsgi_needs_command" -l chdir -d 'working directory of the application' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l pythonpath -d 'directories to add to the front of sys.path, separated by commas' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s e -l env -d 'environment variable for the application; repeatable' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l env-file -d 'file of environment variables for the application' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l python -d 'Python interpreter or virtualenv to run' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l warmup -d 'requests to make before the workers are forked; requires preload_app' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l backlog -d 'connections that may wait to be accepted [default: 2048]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s m -l umask -d 'umask of unix sockets, in octal' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l unix-socket-mode -d 'mode of unix sockets, in octal' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s w -l workers -d 'number of worker processes, or auto [default: 1]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l workers-min -d 'fewest workers when idle [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l workers-max -d 'most workers under load [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l workers-step -d 'workers added at a time [default: 1]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l workers-cooldown -d 'time of low load before a worker is removed [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l busyness-max -d 'share of busy time above which workers are added [default: 50]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l busyness-min -d 'share of busy time below which a worker is removed [default: 25]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l idle -d 'time without requests before the server scales down or ends [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s k -l worker-class -d 'worker class: sync or gthread [default: "sync"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l threads -d 'threads per worker, each for one request at a time [default: 1]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l worker-connections -d 'most open connections per worker [default: 10000]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l queue-timeout -d 'longest wait of a complete request for a free thread [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s t -l timeout -d 'longest time of a request in the application [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l timeout-mode -d 'treatment of requests beyond timeout: soft, hard or warn [default: "soft"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l timeout-grace -d 'time after the exception of timeout_mode soft [default: 2]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l boot-timeout -d 'longest time to load the application [default: 60]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l graceful-timeout -d 'time for a stopping worker to finish its requests [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l shutdown-delay -d 'time to keep serving after TERM, before the stop begins [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l max-requests -d 'replace a worker after this many requests [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l max-requests-jitter -d 'largest random addition to max_requests [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l max-worker-lifetime -d 'replace a worker after this time [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l max-worker-lifetime-jitter -d 'largest random addition to max_worker_lifetime [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l reload-on-rss -d 'replace a worker with more resident memory than this [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l reload-check -l request -d 'requests that new code answers before a reload replaces old code' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l reload-step -d 'workers replaced at a time [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l reload-order -d 'order of replacing workers: start-first or stop-first [default: "start-first"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l reload-engine -d 'detection of changes: auto, inotify or poll [default: "auto"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l reload-extra-file -d 'additional file or pattern to watch with reload; repeatable' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l lame-duck -d 'time for a replaced worker to receive last requests on its open connections [default: 2]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l keep-alive -d 'time to keep an idle connection open [default: 75]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l client-header-timeout -d 'longest time to receive a request\'s head [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l client-body-timeout -d 'longest pause within a request\'s body [default: 60]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l minimum-receive-rate -d 'fewest bytes per second that a client must send of a request\'s body [default: 240]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l send-timeout -d 'longest time in which a client accepts no part of a response [default: 60]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l minimum-send-rate -d 'fewest bytes per second that a client must accept of a waiting response [default: 240]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l lingering-timeout -d 'time to read and drop the rest of a refused request [default: 2]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l post-buffering -d 'largest request body to keep in memory; larger ones go to a file [default: 1048576]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l request-memory -d 'most memory for all request bodies of a worker [default: 268435456]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l spill-limit -d 'largest request body to write to a file [default: 1073741824]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l response-memory -d 'most memory of a worker for responses that wait for their clients [default: 33554432]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l spill-space -d 'most bytes of a worker in files [default: 4294967296]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l worker-tmp-dir -d 'directory for bodies that are too large for memory' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l limit-request-line -d 'longest request line [default: 4094]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l limit-request-fields -d 'most header fields of a request [default: 100]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l limit-request-field-size -d 'longest header field [default: 8190]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l limit-request-head -d 'largest request line and header fields together [default: 65536]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l limit-request-body -d 'largest request body [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l forwarded-allow-ips -d 'trusted proxies [default: ["127.0.0.1", "::1"]]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l forwarder-headers -d 'names with underscores that trusted proxies may send; * for all [default: ["SCRIPT_NAME", "PATH_INFO"]]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l header-map -d 'treatment of header fields with an underscore in the name [default: "drop"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l proxy-protocol -d 'PROXY headers to accept: off, v1, v2 or auto; without a value, auto [default: "off"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l proxy-allow-from -d 'peers that may send a PROXY header [default: ["127.0.0.1", "::1"]]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l error-pages -d 'directory of custom error pages, such as 413.html' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l certfile -d 'certificate file; turns TLS on' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l keyfile -d 'key of the certificate' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l ca-certs -d 'trusted authorities of client certificates' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l cert-reqs -d 'client certificates: 0 none, 1 optional, 2 required [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l ssl-version -d 'lowest version of TLS: TLSv1_2 or TLSv1_3 [default: "TLSv1_2"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l ciphers -d 'ciphers of TLS 1.2, as an OpenSSL list' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s u -l user -d 'user of the application, a name or a number' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s g -l group -d 'group of the application, a name or a number' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l limit-nofile -d 'most open files of each process [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l limit-as -d 'most address space of each process with Python [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s n -l name -d 'name of the processes in ps and top' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l error-logfile -l log-file -d 'file of the error log; - is standard error [default: "-"]' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l log-level -d 'lowest level to log: debug, info, warning, error or critical [default: "info"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l log-format -d 'format of the error log: text, or json for one object per line [default: "text"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l access-logfile -d 'file of the access log; - is standard output' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l access-logformat -d 'format of a line of the access log [default: \'%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"\']' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l access-log-skip -d 'paths whose successful requests are not in the access log' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l logger-class -d 'Python class that writes the access log instead of rwsgi [default: "gunicorn.glogging.Logger"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l log-config -d 'file for Python\'s logging.config.fileConfig' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l log-config-json -d 'JSON file for Python\'s logging.config.dictConfig' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l log-syslog-to -d 'address of syslog: udp://HOST:PORT, tcp://HOST:PORT or unix://PATH [default: "udp://localhost:514"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l log-syslog-prefix -d 'name of the server in syslog' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l log-syslog-facility -d 'facility of syslog messages, such as daemon or local0 [default: "user"]' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l statsd-host -d 'address of statsd: HOST:PORT or unix://PATH' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l statsd-prefix -d 'prefix of metric names' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l dogstatsd-tags -d 'tags of each metric, separated by commas, for Datadog\'s statsd' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l preload -d 'load the application once, before the workers are forked'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l warmup-required -d 'refuse to start or reload if a request of warmup fails'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l reuse-port -d 'share TCP ports with other servers of this user'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l die-on-idle -d 'end the server, with exit code 0, after idle'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l reload -d 'reload when code changes, for development'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l permit-obsolete-folding -d 'accept header fields that continue on a line that begins with a blank'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l strip-header-spaces -d 'accept header fields with blanks before the colon'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l permit-unconventional-http-method -d 'accept methods of any length, with lower case letters and #'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l permit-unconventional-http-version -d 'accept versions other than HTTP/1.0 to 1.9'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l casefold-http-method -d 'convert methods to upper case'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l do-handshake-on-connect -d 'accepted for compatibility with gunicorn, without effect'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l suppress-ragged-eofs -d 'accepted for compatibility with gunicorn, without effect'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s D -l daemon -d 'run in the background, in a session of its own'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l capture-output -d 'write the application\'s output to the error log\'s file'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s R -l enable-stdio-inheritance -d 'keep standard output and standard error of a daemon'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l log-syslog -d 'send the logs to syslog too'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l disable-redirect-access-to-syslog -d 'send only the error log to syslog'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l enable-backlog-metric -d 'report waiting connections to statsd once a second'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s h -l help -d 'print the usual commands, or the help of a verb'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l help-all -d 'print this help'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -s v -l version -d 'print the version'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l wait -d 'reload: wait until only the new code serves, or the reload has failed'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l check-config
complete -c rwsgi -n "__fish_rwsgi_needs_command" -l print-config
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "stop" -d 'finish the requests under way, for at most graceful_timeout, then end'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "quit" -d 'end at once'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "reload" -d 'read settings and code again, and replace the workers step by step'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "reopen-logs" -d 'reopen the log files'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "upgrade" -d 'start a new master beside this one'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "status" -d 'report the state of the server and its workers'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "requests" -d 'list the requests in the application, with their durations'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "stack" -d 'print the Python stacks of a worker, or of all workers, without stopping them'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "scale" -d 'add or remove workers, or set their number'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "recycle" -d 'replace one worker, or all workers, by new ones'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "check" -d 'load settings and application as a start does, and report what is wrong with them'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "settings" -d 'print every setting with its value and its origin, as a TOML file'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "ls" -d 'list the servers of this user'
complete -c rwsgi -n "__fish_rwsgi_needs_command" -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stop" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stop" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stop" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stop" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stop" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stop" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand quit" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand quit" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand quit" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand quit" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand quit" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand quit" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reload" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reload" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reload" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reload" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reload" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reload" -l wait -d 'reload: wait until only the new code serves, or the reload has failed'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reload" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reopen-logs" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reopen-logs" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reopen-logs" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reopen-logs" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reopen-logs" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand reopen-logs" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand upgrade" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand upgrade" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand upgrade" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand upgrade" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand upgrade" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand upgrade" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand status" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand status" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand status" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand status" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand status" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand status" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand requests" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand requests" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand requests" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand requests" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand requests" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand requests" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stack" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stack" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stack" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stack" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stack" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand stack" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand scale" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand scale" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand scale" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand scale" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand scale" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand scale" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand recycle" -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand recycle" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand recycle" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand recycle" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand recycle" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand recycle" -l json -d 'verbs: answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l chdir -d 'working directory of the application' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l pythonpath -d 'directories to add to the front of sys.path, separated by commas' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s e -l env -d 'environment variable for the application; repeatable' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l env-file -d 'file of environment variables for the application' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l python -d 'Python interpreter or virtualenv to run' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l warmup -d 'requests to make before the workers are forked; requires preload_app' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l backlog -d 'connections that may wait to be accepted [default: 2048]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s m -l umask -d 'umask of unix sockets, in octal' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l unix-socket-mode -d 'mode of unix sockets, in octal' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s w -l workers -d 'number of worker processes, or auto [default: 1]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l workers-min -d 'fewest workers when idle [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l workers-max -d 'most workers under load [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l workers-step -d 'workers added at a time [default: 1]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l workers-cooldown -d 'time of low load before a worker is removed [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l busyness-max -d 'share of busy time above which workers are added [default: 50]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l busyness-min -d 'share of busy time below which a worker is removed [default: 25]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l idle -d 'time without requests before the server scales down or ends [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s k -l worker-class -d 'worker class: sync or gthread [default: "sync"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l threads -d 'threads per worker, each for one request at a time [default: 1]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l worker-connections -d 'most open connections per worker [default: 10000]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l queue-timeout -d 'longest wait of a complete request for a free thread [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s t -l timeout -d 'longest time of a request in the application [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l timeout-mode -d 'treatment of requests beyond timeout: soft, hard or warn [default: "soft"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l timeout-grace -d 'time after the exception of timeout_mode soft [default: 2]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l boot-timeout -d 'longest time to load the application [default: 60]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l graceful-timeout -d 'time for a stopping worker to finish its requests [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l shutdown-delay -d 'time to keep serving after TERM, before the stop begins [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l max-requests -d 'replace a worker after this many requests [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l max-requests-jitter -d 'largest random addition to max_requests [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l max-worker-lifetime -d 'replace a worker after this time [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l max-worker-lifetime-jitter -d 'largest random addition to max_worker_lifetime [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l reload-on-rss -d 'replace a worker with more resident memory than this [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l reload-check -l request -d 'requests that new code answers before a reload replaces old code' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l reload-step -d 'workers replaced at a time [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l reload-order -d 'order of replacing workers: start-first or stop-first [default: "start-first"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l reload-engine -d 'detection of changes: auto, inotify or poll [default: "auto"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l reload-extra-file -d 'additional file or pattern to watch with reload; repeatable' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l lame-duck -d 'time for a replaced worker to receive last requests on its open connections [default: 2]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l keep-alive -d 'time to keep an idle connection open [default: 75]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l client-header-timeout -d 'longest time to receive a request\'s head [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l client-body-timeout -d 'longest pause within a request\'s body [default: 60]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l minimum-receive-rate -d 'fewest bytes per second that a client must send of a request\'s body [default: 240]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l send-timeout -d 'longest time in which a client accepts no part of a response [default: 60]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l minimum-send-rate -d 'fewest bytes per second that a client must accept of a waiting response [default: 240]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l lingering-timeout -d 'time to read and drop the rest of a refused request [default: 2]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l post-buffering -d 'largest request body to keep in memory; larger ones go to a file [default: 1048576]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l request-memory -d 'most memory for all request bodies of a worker [default: 268435456]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l spill-limit -d 'largest request body to write to a file [default: 1073741824]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l response-memory -d 'most memory of a worker for responses that wait for their clients [default: 33554432]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l spill-space -d 'most bytes of a worker in files [default: 4294967296]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l worker-tmp-dir -d 'directory for bodies that are too large for memory' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l limit-request-line -d 'longest request line [default: 4094]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l limit-request-fields -d 'most header fields of a request [default: 100]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l limit-request-field-size -d 'longest header field [default: 8190]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l limit-request-head -d 'largest request line and header fields together [default: 65536]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l limit-request-body -d 'largest request body [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l forwarded-allow-ips -d 'trusted proxies [default: ["127.0.0.1", "::1"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l forwarder-headers -d 'names with underscores that trusted proxies may send; * for all [default: ["SCRIPT_NAME", "PATH_INFO"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l header-map -d 'treatment of header fields with an underscore in the name [default: "drop"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l proxy-protocol -d 'PROXY headers to accept: off, v1, v2 or auto; without a value, auto [default: "off"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l proxy-allow-from -d 'peers that may send a PROXY header [default: ["127.0.0.1", "::1"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l error-pages -d 'directory of custom error pages, such as 413.html' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l certfile -d 'certificate file; turns TLS on' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l keyfile -d 'key of the certificate' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l ca-certs -d 'trusted authorities of client certificates' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l cert-reqs -d 'client certificates: 0 none, 1 optional, 2 required [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l ssl-version -d 'lowest version of TLS: TLSv1_2 or TLSv1_3 [default: "TLSv1_2"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l ciphers -d 'ciphers of TLS 1.2, as an OpenSSL list' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s u -l user -d 'user of the application, a name or a number' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s g -l group -d 'group of the application, a name or a number' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l limit-nofile -d 'most open files of each process [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l limit-as -d 'most address space of each process with Python [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s n -l name -d 'name of the processes in ps and top' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l error-logfile -l log-file -d 'file of the error log; - is standard error [default: "-"]' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l log-level -d 'lowest level to log: debug, info, warning, error or critical [default: "info"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l log-format -d 'format of the error log: text, or json for one object per line [default: "text"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l access-logfile -d 'file of the access log; - is standard output' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l access-logformat -d 'format of a line of the access log [default: \'%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"\']' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l access-log-skip -d 'paths whose successful requests are not in the access log' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l logger-class -d 'Python class that writes the access log instead of rwsgi [default: "gunicorn.glogging.Logger"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l log-config -d 'file for Python\'s logging.config.fileConfig' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l log-config-json -d 'JSON file for Python\'s logging.config.dictConfig' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l log-syslog-to -d 'address of syslog: udp://HOST:PORT, tcp://HOST:PORT or unix://PATH [default: "udp://localhost:514"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l log-syslog-prefix -d 'name of the server in syslog' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l log-syslog-facility -d 'facility of syslog messages, such as daemon or local0 [default: "user"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l statsd-host -d 'address of statsd: HOST:PORT or unix://PATH' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l statsd-prefix -d 'prefix of metric names' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l dogstatsd-tags -d 'tags of each metric, separated by commas, for Datadog\'s statsd' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l preload -d 'load the application once, before the workers are forked'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l warmup-required -d 'refuse to start or reload if a request of warmup fails'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l reuse-port -d 'share TCP ports with other servers of this user'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l die-on-idle -d 'end the server, with exit code 0, after idle'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l reload -d 'reload when code changes, for development'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l permit-obsolete-folding -d 'accept header fields that continue on a line that begins with a blank'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l strip-header-spaces -d 'accept header fields with blanks before the colon'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l permit-unconventional-http-method -d 'accept methods of any length, with lower case letters and #'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l permit-unconventional-http-version -d 'accept versions other than HTTP/1.0 to 1.9'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l casefold-http-method -d 'convert methods to upper case'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l do-handshake-on-connect -d 'accepted for compatibility with gunicorn, without effect'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l suppress-ragged-eofs -d 'accepted for compatibility with gunicorn, without effect'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s D -l daemon -d 'run in the background, in a session of its own'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l capture-output -d 'write the application\'s output to the error log\'s file'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -s R -l enable-stdio-inheritance -d 'keep standard output and standard error of a daemon'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l log-syslog -d 'send the logs to syslog too'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l disable-redirect-access-to-syslog -d 'send only the error log to syslog'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand check" -l enable-backlog-metric -d 'report waiting connections to statsd once a second'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l chdir -d 'working directory of the application' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l pythonpath -d 'directories to add to the front of sys.path, separated by commas' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s e -l env -d 'environment variable for the application; repeatable' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l env-file -d 'file of environment variables for the application' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l python -d 'Python interpreter or virtualenv to run' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l warmup -d 'requests to make before the workers are forked; requires preload_app' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s b -l bind -d 'address to listen on; repeatable [default: ["127.0.0.1:8000"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l backlog -d 'connections that may wait to be accepted [default: 2048]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s m -l umask -d 'umask of unix sockets, in octal' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l unix-socket-mode -d 'mode of unix sockets, in octal' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s w -l workers -d 'number of worker processes, or auto [default: 1]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l workers-min -d 'fewest workers when idle [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l workers-max -d 'most workers under load [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l workers-step -d 'workers added at a time [default: 1]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l workers-cooldown -d 'time of low load before a worker is removed [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l busyness-max -d 'share of busy time above which workers are added [default: 50]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l busyness-min -d 'share of busy time below which a worker is removed [default: 25]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l idle -d 'time without requests before the server scales down or ends [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s k -l worker-class -d 'worker class: sync or gthread [default: "sync"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l threads -d 'threads per worker, each for one request at a time [default: 1]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l worker-connections -d 'most open connections per worker [default: 10000]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l queue-timeout -d 'longest wait of a complete request for a free thread [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s t -l timeout -d 'longest time of a request in the application [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l timeout-mode -d 'treatment of requests beyond timeout: soft, hard or warn [default: "soft"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l timeout-grace -d 'time after the exception of timeout_mode soft [default: 2]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l boot-timeout -d 'longest time to load the application [default: 60]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l graceful-timeout -d 'time for a stopping worker to finish its requests [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l shutdown-delay -d 'time to keep serving after TERM, before the stop begins [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l max-requests -d 'replace a worker after this many requests [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l max-requests-jitter -d 'largest random addition to max_requests [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l max-worker-lifetime -d 'replace a worker after this time [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l max-worker-lifetime-jitter -d 'largest random addition to max_worker_lifetime [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l reload-on-rss -d 'replace a worker with more resident memory than this [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l reload-check -l request -d 'requests that new code answers before a reload replaces old code' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l reload-step -d 'workers replaced at a time [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l reload-order -d 'order of replacing workers: start-first or stop-first [default: "start-first"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l reload-engine -d 'detection of changes: auto, inotify or poll [default: "auto"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l reload-extra-file -d 'additional file or pattern to watch with reload; repeatable' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l lame-duck -d 'time for a replaced worker to receive last requests on its open connections [default: 2]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l keep-alive -d 'time to keep an idle connection open [default: 75]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l client-header-timeout -d 'longest time to receive a request\'s head [default: 30]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l client-body-timeout -d 'longest pause within a request\'s body [default: 60]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l minimum-receive-rate -d 'fewest bytes per second that a client must send of a request\'s body [default: 240]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l send-timeout -d 'longest time in which a client accepts no part of a response [default: 60]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l minimum-send-rate -d 'fewest bytes per second that a client must accept of a waiting response [default: 240]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l lingering-timeout -d 'time to read and drop the rest of a refused request [default: 2]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l post-buffering -d 'largest request body to keep in memory; larger ones go to a file [default: 1048576]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l request-memory -d 'most memory for all request bodies of a worker [default: 268435456]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l spill-limit -d 'largest request body to write to a file [default: 1073741824]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l response-memory -d 'most memory of a worker for responses that wait for their clients [default: 33554432]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l spill-space -d 'most bytes of a worker in files [default: 4294967296]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l worker-tmp-dir -d 'directory for bodies that are too large for memory' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l limit-request-line -d 'longest request line [default: 4094]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l limit-request-fields -d 'most header fields of a request [default: 100]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l limit-request-field-size -d 'longest header field [default: 8190]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l limit-request-head -d 'largest request line and header fields together [default: 65536]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l limit-request-body -d 'largest request body [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l forwarded-allow-ips -d 'trusted proxies [default: ["127.0.0.1", "::1"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l forwarder-headers -d 'names with underscores that trusted proxies may send; * for all [default: ["SCRIPT_NAME", "PATH_INFO"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l header-map -d 'treatment of header fields with an underscore in the name [default: "drop"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l proxy-protocol -d 'PROXY headers to accept: off, v1, v2 or auto; without a value, auto [default: "off"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l proxy-allow-from -d 'peers that may send a PROXY header [default: ["127.0.0.1", "::1"]]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l error-pages -d 'directory of custom error pages, such as 413.html' -r -f -a "(__fish_complete_directories)"
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l certfile -d 'certificate file; turns TLS on' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l keyfile -d 'key of the certificate' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l ca-certs -d 'trusted authorities of client certificates' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l cert-reqs -d 'client certificates: 0 none, 1 optional, 2 required [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l ssl-version -d 'lowest version of TLS: TLSv1_2 or TLSv1_3 [default: "TLSv1_2"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l ciphers -d 'ciphers of TLS 1.2, as an OpenSSL list' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s u -l user -d 'user of the application, a name or a number' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s g -l group -d 'group of the application, a name or a number' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s p -l pid -d 'file for the master\'s process id' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l limit-nofile -d 'most open files of each process [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l limit-as -d 'most address space of each process with Python [default: 0]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s n -l name -d 'name of the processes in ps and top' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l error-logfile -l log-file -d 'file of the error log; - is standard error [default: "-"]' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l log-level -d 'lowest level to log: debug, info, warning, error or critical [default: "info"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l log-format -d 'format of the error log: text, or json for one object per line [default: "text"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l access-logfile -d 'file of the access log; - is standard output' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l access-logformat -d 'format of a line of the access log [default: \'%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"\']' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l access-log-skip -d 'paths whose successful requests are not in the access log' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l logger-class -d 'Python class that writes the access log instead of rwsgi [default: "gunicorn.glogging.Logger"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l log-config -d 'file for Python\'s logging.config.fileConfig' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l log-config-json -d 'JSON file for Python\'s logging.config.dictConfig' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l log-syslog-to -d 'address of syslog: udp://HOST:PORT, tcp://HOST:PORT or unix://PATH [default: "udp://localhost:514"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l log-syslog-prefix -d 'name of the server in syslog' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l log-syslog-facility -d 'facility of syslog messages, such as daemon or local0 [default: "user"]' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l statsd-host -d 'address of statsd: HOST:PORT or unix://PATH' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l statsd-prefix -d 'prefix of metric names' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l dogstatsd-tags -d 'tags of each metric, separated by commas, for Datadog\'s statsd' -r
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s c -l config -d 'read settings from this file, TOML or Python' -r -F
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l preload -d 'load the application once, before the workers are forked'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l warmup-required -d 'refuse to start or reload if a request of warmup fails'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l reuse-port -d 'share TCP ports with other servers of this user'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l die-on-idle -d 'end the server, with exit code 0, after idle'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l reload -d 'reload when code changes, for development'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l permit-obsolete-folding -d 'accept header fields that continue on a line that begins with a blank'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l strip-header-spaces -d 'accept header fields with blanks before the colon'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l permit-unconventional-http-method -d 'accept methods of any length, with lower case letters and #'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l permit-unconventional-http-version -d 'accept versions other than HTTP/1.0 to 1.9'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l casefold-http-method -d 'convert methods to upper case'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l do-handshake-on-connect -d 'accepted for compatibility with gunicorn, without effect'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l suppress-ragged-eofs -d 'accepted for compatibility with gunicorn, without effect'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s D -l daemon -d 'run in the background, in a session of its own'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l capture-output -d 'write the application\'s output to the error log\'s file'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -s R -l enable-stdio-inheritance -d 'keep standard output and standard error of a daemon'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l log-syslog -d 'send the logs to syslog too'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l disable-redirect-access-to-syslog -d 'send only the error log to syslog'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand settings" -l enable-backlog-metric -d 'report waiting connections to statsd once a second'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand ls" -l json -d 'answer in JSON'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "stop" -d 'finish the requests under way, for at most graceful_timeout, then end'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "quit" -d 'end at once'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "reload" -d 'read settings and code again, and replace the workers step by step'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "reopen-logs" -d 'reopen the log files'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "upgrade" -d 'start a new master beside this one'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "status" -d 'report the state of the server and its workers'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "requests" -d 'list the requests in the application, with their durations'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "stack" -d 'print the Python stacks of a worker, or of all workers, without stopping them'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "scale" -d 'add or remove workers, or set their number'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "recycle" -d 'replace one worker, or all workers, by new ones'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "check" -d 'load settings and application as a start does, and report what is wrong with them'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "settings" -d 'print every setting with its value and its origin, as a TOML file'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "ls" -d 'list the servers of this user'
complete -c rwsgi -n "__fish_rwsgi_using_subcommand help; and not __fish_seen_subcommand_from stop quit reload reopen-logs upgrade status requests stack scale recycle check settings ls help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
