"""Exec and Attach as conversations: say something, wait for an answer, see the end."""
import queue
import threading

from api import Refused
from story import rounds


class Session:
    """One call of api.Exec or api.Attach that began with `start`."""

    def __init__(self, method, start, timeout=rounds(30, 120)):
        self.requests = queue.SimpleQueue()
        self.message = method.message
        self.stdout = self.stderr = b""
        self.started = self.exit = self.error = None
        self.changed = threading.Condition()
        self.reading = threading.Event()
        self.reading.set()
        self.say(start=start)
        self.stream = method(iter(self.requests.get, None), timeout=timeout)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            for answer in self.stream:
                self.reading.wait()
                self._take(answer)
        except Refused as why:
            with self.changed:
                self.error = why
        with self.changed:
            self.stream_ended = True
            self.changed.notify_all()

    stream_ended = False

    def _take(self, answer):
        kind = answer.WhichOneof("message")
        with self.changed:
            if kind in ("stdout", "stderr"):
                setattr(self, kind, getattr(self, kind) + getattr(answer, kind))
            elif kind is not None:
                setattr(self, kind, getattr(answer, kind))
            self.changed.notify_all()

    def say(self, **fields):
        self.requests.put(self.message(fields))

    def write(self, data):
        import base64
        for at in range(0, len(data), 32768):
            self.say(stdin=base64.b64encode(data[at:at + 32768]).decode())

    def close_stdin(self):
        self.say(stdin_closed=True)

    def wait(self, condition, what, seconds=None):
        seconds = seconds or rounds(15, 90)
        with self.changed:
            if not self.changed.wait_for(lambda: condition(self) or self.stream_ended, seconds) or not condition(self):
                raise AssertionError(f"{what}: not in {seconds} s; stdout {self.stdout[-200:]!r}, stderr "
                                     f"{self.stderr[-200:]!r}, exit {self.exit}, error {self.error}")

    def expect(self, text):
        self.wait(lambda s: text in s.stdout, f"{text!r} on stdout")

    def end(self):
        """The exit record; the call must have ended well after it."""
        self.wait(lambda s: s.stream_ended, "the end")
        self.requests.put(None)
        if self.error:
            raise self.error
        return self.exit

    def cancel(self):
        self.stream.call.cancel()
        self.requests.put(None)  # not before: to say no more is the end of stdin
        self.thread.join(10)
