# Prometheus in several processes, as its documentation has it.
import os

os.makedirs("metrics", exist_ok=True)
os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.path.abspath("metrics")

wsgi_app = "counting"
workers = 2


def child_exit(server, worker):
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)
