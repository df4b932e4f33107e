

# Appended to a file: what is called for each worker and for the server itself goes to a file of notes.
def _note_hooks(names):
    import os

    def note(args, word):
        worker = next((arg for arg in args[:2] if hasattr(arg, "age")), None)
        with open(os.environ["NOTES"], "a") as notes:
            notes.write("%s: %s\n" % ("worker %d" % worker.age if worker else "server", word))

    def noting(name, count, own):
        def called(*args):
            note(args, name + (" %d" % args[0].num_workers if name == "when_ready" else ""))
            if own is not None:
                own(*args)

        return (lambda a: called(a), lambda a, b: called(a, b), lambda a, b, c: called(a, b, c))[count - 1]

    one = ("on_starting", "when_ready", "on_reload", "on_exit", "post_worker_init", "worker_int", "worker_abort")
    two = ("pre_fork", "post_fork", "worker_exit", "child_exit")
    for count, hooks in ((1, one), (2, two), (3, ("nworkers_changed",))):
        for name in hooks:
            names[name] = noting(name, count, names.get(name))


_note_hooks(globals())
