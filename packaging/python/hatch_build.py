"""Builds the program for the wheel, with the engine inside, and tags the wheel by what the program needs."""

import os
import re
import subprocess
import sysconfig

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProgramHook(BuildHookInterface):
    """Adds the program as the command `rwsgi`."""

    def initialize(self, version, build_data):
        program = os.environ.get("RWSGI_PROGRAM_FILE") or self.build()
        build_data["shared_scripts"][program] = "rwsgi"
        build_data["tag"] = "py3-none-" + platform(program)
        build_data["pure_python"] = False

    def build(self):
        """Builds the engine, then the program that includes it: the order that cargo cannot express."""
        directory = os.path.abspath(os.path.join(self.root, os.environ.get("CARGO_TARGET_DIR", "target")))
        profile = os.environ.get("RWSGI_BUILD_PROFILE", "release")
        # Cargo calls the directory of the profile dev by another name.
        output = os.path.join(directory, "debug" if profile == "dev" else profile)
        cargo = ["cargo", "build", "--locked", "--profile", profile, "--target-dir", directory, "-p", "rwsgi-engine"]
        subprocess.run(cargo, cwd=self.root, check=True)
        engine = os.path.join(output, "librwsgi_engine.so")
        # Both, so that cargo chooses the same features of the crates, and compiles none again.
        environ = {**os.environ, "RWSGI_ENGINE_FILE": engine}
        subprocess.run([*cargo, "-p", "rwsgi"], cwd=self.root, check=True, env=environ)
        return os.path.join(output, "rwsgi")


def platform(program):
    """Returns the tag of PEP 600 for the oldest glibc that has all symbols which program and engine use.

    The engine is in the program's file as it is, so that one look finds the versions of both.
    """
    with open(program, "rb") as file:
        content = file.read()
    machine = MACHINES[int.from_bytes(content[18:20], "little")]
    versions = [tuple(map(int, found.split(b"."))) for found in re.findall(rb"\0GLIBC_(2\.\d+)", content)]
    if not versions:
        return sysconfig.get_platform().replace("-", "_").replace(".", "_")
    return "manylinux_%d_%d_%s" % (*max(versions), machine)


# e_machine of elf(5).
MACHINES = {62: "x86_64", 183: "aarch64"}
