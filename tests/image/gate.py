"""A way to a registry that is shut until somebody opens it: who comes by waits."""
import socket
import threading


class Gate:
    def __init__(self, registry):
        self.target = ("127.0.0.1", int(registry.host.split(":")[1]))
        self.opened = threading.Event()
        self.passing = set()
        self.came = threading.Semaphore(0)  # once for each that comes
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"localhost:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            self.came.release()
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        self.opened.wait()
        try:
            with peer, socket.create_connection(self.target) as server:
                self.passing.add(peer)
                back = threading.Thread(target=self._pass, args=(server, peer), daemon=True)
                back.start()
                self._pass(peer, server)
                back.join()
        except OSError:  # whoever came has gone
            pass
        finally:
            self.passing.discard(peer)

    @staticmethod
    def _pass(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def wait(self, seconds=20):
        """Until somebody waits before it."""
        if not self.came.acquire(timeout=seconds):
            raise AssertionError(f"nobody asked the registry for {seconds} s")

    def open(self):
        self.opened.set()

    def shut(self):
        """Also for whoever has come through before."""
        self.opened.clear()
        for peer in list(self.passing):
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        while self.came.acquire(blocking=False):
            pass

    def end(self):
        self.listener.close()
        self.opened.set()
