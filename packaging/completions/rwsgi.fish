complete -c rwsgi -l chdir -d 'working directory of the application' -r
complete -c rwsgi -l pythonpath -d 'directories to add to the front of sys.path, separated by commas' -r
complete -c rwsgi -s e -l env -d 'environment variable for the application; repeatable' -r
complete -c rwsgi -l python -d 'Python interpreter or virtualenv to run' -r
complete -c rwsgi -l warmup -d 'requests to make before the workers are forked; requires preload_app' -r
complete -c rwsgi -s b -l bind -d 'address to listen on; repeatable' -r
complete -c rwsgi -l backlog -d 'connections that may wait to be accepted' -r
complete -c rwsgi -s m -l umask -d 'umask of unix sockets, in octal' -r
complete -c rwsgi -l unix-socket-mode -d 'mode of unix sockets, in octal' -r
complete -c rwsgi -s w -l workers -d 'number of worker processes, or auto' -r
complete -c rwsgi -l workers-min -d 'fewest workers when idle' -r
complete -c rwsgi -l workers-max -d 'most workers under load' -r
complete -c rwsgi -l workers-step -d 'workers added at a time' -r
complete -c rwsgi -l workers-cooldown -d 'time of low load before a worker is removed' -r
complete -c rwsgi -l busyness-max -d 'share of busy time above which workers are added' -r
complete -c rwsgi -l busyness-min -d 'share of busy time below which a worker is removed' -r
complete -c rwsgi -l idle -d 'time without requests before the server scales down or ends' -r
complete -c rwsgi -s k -l worker-class -d 'worker class: sync or gthread' -r
complete -c rwsgi -l threads -d 'threads per worker, each for one request at a time' -r
complete -c rwsgi -l worker-connections -d 'most open connections per worker' -r
complete -c rwsgi -l queue-timeout -d 'longest wait of a complete request for a free thread' -r
complete -c rwsgi -s t -l timeout -d 'longest time of a request in the application' -r
complete -c rwsgi -l timeout-mode -d 'treatment of requests beyond timeout: soft, hard or warn' -r
complete -c rwsgi -l timeout-grace -d 'time after the exception of timeout_mode soft' -r
complete -c rwsgi -l boot-timeout -d 'longest time to load the application' -r
complete -c rwsgi -l graceful-timeout -d 'time for a stopping worker to finish its requests' -r
complete -c rwsgi -l shutdown-delay -d 'time to keep serving after TERM, before the stop begins' -r
complete -c rwsgi -l max-requests -d 'replace a worker after this many requests' -r
complete -c rwsgi -l max-requests-jitter -d 'largest random addition to max_requests' -r
complete -c rwsgi -l max-worker-lifetime -d 'replace a worker after this time' -r
complete -c rwsgi -l max-worker-lifetime-jitter -d 'largest random addition to max_worker_lifetime' -r
complete -c rwsgi -l reload-on-rss -d 'replace a worker with more resident memory than this' -r
complete -c rwsgi -l reload-step -d 'workers replaced at a time' -r
complete -c rwsgi -l reload-order -d 'order of replacing workers: start-first or stop-first' -r
complete -c rwsgi -l reload-engine -d 'detection of changes: auto, inotify or poll' -r
complete -c rwsgi -l reload-extra-file -d 'additional file or pattern to watch with reload; repeatable' -r
complete -c rwsgi -l lame-duck -d 'time for a replaced worker to receive last requests on its open connections' -r
complete -c rwsgi -l keep-alive -d 'time to keep an idle connection open' -r
complete -c rwsgi -l client-header-timeout -d 'longest time to receive a request\'s head' -r
complete -c rwsgi -l client-body-timeout -d 'longest pause within a request\'s body' -r
complete -c rwsgi -l minimum-receive-rate -d 'fewest bytes per second that a client must send of a request\'s body' -r
complete -c rwsgi -l send-timeout -d 'longest time in which a client accepts no part of a response' -r
complete -c rwsgi -l minimum-send-rate -d 'fewest bytes per second that a client must accept of a waiting response' -r
complete -c rwsgi -l lingering-timeout -d 'time to read and drop the rest of a refused request' -r
complete -c rwsgi -l post-buffering -d 'largest request body to keep in memory; larger ones go to a file' -r
complete -c rwsgi -l request-memory -d 'most memory for all request bodies of a worker' -r
complete -c rwsgi -l spill-limit -d 'largest request body to write to a file' -r
complete -c rwsgi -l response-memory -d 'most memory of a worker for responses that wait for their clients' -r
complete -c rwsgi -l spill-space -d 'most bytes of a worker in files' -r
complete -c rwsgi -l worker-tmp-dir -d 'directory for bodies that are too large for memory' -r
complete -c rwsgi -l limit-request-line -d 'longest request line' -r
complete -c rwsgi -l limit-request-fields -d 'most header fields of a request' -r
complete -c rwsgi -l limit-request-field-size -d 'longest header field' -r
complete -c rwsgi -l limit-request-head -d 'largest request line and header fields together' -r
complete -c rwsgi -l limit-request-body -d 'largest request body' -r
complete -c rwsgi -l forwarded-allow-ips -d 'trusted proxies' -r
complete -c rwsgi -l forwarder-headers -d 'names with underscores that trusted proxies may send; * for all' -r
complete -c rwsgi -l header-map -d 'treatment of header fields with an underscore in the name' -r
complete -c rwsgi -l proxy-protocol -d 'PROXY headers to accept: off, v1, v2 or auto; without a value, auto' -r
complete -c rwsgi -l proxy-allow-from -d 'peers that may send a PROXY header' -r
complete -c rwsgi -l error-pages -d 'directory of custom error pages, such as 413.html' -r
complete -c rwsgi -l certfile -d 'certificate file; turns TLS on' -r
complete -c rwsgi -l keyfile -d 'key of the certificate' -r
complete -c rwsgi -l ca-certs -d 'trusted authorities of client certificates' -r
complete -c rwsgi -l cert-reqs -d 'client certificates: 0 none, 1 optional, 2 required' -r
complete -c rwsgi -l ssl-version -d 'lowest version of TLS: TLSv1_2 or TLSv1_3' -r
complete -c rwsgi -l ciphers -d 'ciphers of TLS 1.2, as an OpenSSL list' -r
complete -c rwsgi -s u -l user -d 'user of the application, a name or a number' -r
complete -c rwsgi -s g -l group -d 'group of the application, a name or a number' -r
complete -c rwsgi -s p -l pid -d 'file for the master\'s process id' -r
complete -c rwsgi -l control-socket -d 'path of the control socket for rwsgi status and other verbs, or off' -r
complete -c rwsgi -l limit-nofile -d 'most open files of each process' -r
complete -c rwsgi -l limit-as -d 'most address space of each process with Python' -r
complete -c rwsgi -s n -l name -d 'name of the processes in ps and top' -r
complete -c rwsgi -l error-logfile -l log-file -d 'file of the error log; - is standard error' -r
complete -c rwsgi -l log-level -d 'lowest level to log: debug, info, warning, error or critical' -r
complete -c rwsgi -l log-format -d 'format of the error log: text, or json for one object per line' -r
complete -c rwsgi -l access-logfile -d 'file of the access log; - is standard output' -r
complete -c rwsgi -l access-logformat -d 'format of a line of the access log' -r
complete -c rwsgi -l logger-class -d 'Python class that writes the access log instead of rwsgi' -r
complete -c rwsgi -l log-config -d 'file for Python\'s logging.config.fileConfig' -r
complete -c rwsgi -l log-config-json -d 'JSON file for Python\'s logging.config.dictConfig' -r
complete -c rwsgi -l log-syslog-to -d 'address of syslog: udp://HOST:PORT, tcp://HOST:PORT or unix://PATH' -r
complete -c rwsgi -l log-syslog-prefix -d 'name of the server in syslog' -r
complete -c rwsgi -l log-syslog-facility -d 'facility of syslog messages, such as daemon or local0' -r
complete -c rwsgi -l statsd-host -d 'address of statsd: HOST:PORT or unix://PATH' -r
complete -c rwsgi -l statsd-prefix -d 'prefix of metric names' -r
complete -c rwsgi -l dogstatsd-tags -d 'tags of each metric, separated by commas, for Datadog\'s statsd' -r
complete -c rwsgi -s c -l config -d 'read settings from this file, TOML or Python' -r
complete -c rwsgi -l within -d 'verbs: longest time to wait for the answer' -r
complete -c rwsgi -l preload -d 'load the application once, before the workers are forked'
complete -c rwsgi -l reuse-port -d 'share TCP ports with other servers of this user'
complete -c rwsgi -l die-on-idle -d 'end the server, with exit code 0, after idle'
complete -c rwsgi -l reload -d 'reload when code changes, for development'
complete -c rwsgi -l permit-obsolete-folding -d 'accept header fields that continue on a line that begins with a blank'
complete -c rwsgi -l strip-header-spaces -d 'accept header fields with blanks before the colon'
complete -c rwsgi -l permit-unconventional-http-method -d 'accept methods of any length, with lower case letters and #'
complete -c rwsgi -l permit-unconventional-http-version -d 'accept versions other than HTTP/1.0 to 1.9'
complete -c rwsgi -l casefold-http-method -d 'convert methods to upper case'
complete -c rwsgi -l do-handshake-on-connect -d 'accepted for compatibility with gunicorn, without effect'
complete -c rwsgi -l suppress-ragged-eofs -d 'accepted for compatibility with gunicorn, without effect'
complete -c rwsgi -s D -l daemon -d 'run in the background, in a session of its own'
complete -c rwsgi -l capture-output -d 'write the application\'s output to the error log\'s file'
complete -c rwsgi -s R -l enable-stdio-inheritance -d 'keep standard output and standard error of a daemon'
complete -c rwsgi -l log-syslog -d 'send the logs to syslog too'
complete -c rwsgi -l disable-redirect-access-to-syslog -d 'send only the error log to syslog'
complete -c rwsgi -l enable-backlog-metric -d 'report waiting connections to statsd once a second'
complete -c rwsgi -s h -l help -d 'print this help'
complete -c rwsgi -s v -l version -d 'print the version'
complete -c rwsgi -l wait -d 'reload: wait until only the new code serves, or the reload has failed'
complete -c rwsgi -l json -d 'verbs: answer in JSON'
complete -c rwsgi -l check-config
complete -c rwsgi -l print-config
