# The line of a Procfile, with what the platform adds: web: gunicorn plain:application --log-file - --access-logfile -
# env: PORT=0 WEB_CONCURRENCY=2 GUNICORN_CMD_ARGS=--threads=2
# words: plain:application --log-file - --access-logfile -
# bind: 0.0.0.0
# log: stdout
