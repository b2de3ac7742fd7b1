"""A plugin of pytest: tests wait ten times as long for processes, in builds that are slow."""

import subprocess

TIMES = 10


def pytest_configure():
    communicate, wait = subprocess.Popen.communicate, subprocess.Popen.wait

    def patient(plain):
        return lambda self, *given, timeout=None: plain(
            self, *given, timeout=timeout and TIMES * timeout
        )

    subprocess.Popen.communicate, subprocess.Popen.wait = patient(communicate), patient(wait)
