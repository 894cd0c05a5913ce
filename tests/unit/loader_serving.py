"""An HTTP server for tests of remote roots, which can be told to misbehave."""

import contextlib
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    """Serves byte ranges; misbehaves for tars as the server's ``mode`` says, ``times`` times."""

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        server.asked.append((self.path, self.headers.get("Range")))
        if self.path.endswith(".tar") and server.times > 0:
            server.times -= 1
            if server.mode == "stall":
                server.released.wait(20)
                return
            if server.mode == "slow":
                time.sleep(0.2)
            if server.mode == "error":
                return self.send_error(500)
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        data, wanted = path.read_bytes(), self.headers.get("Range")
        start, end = 0, len(data)
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            start, end = int(first), int(last) + 1
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(data[start:end])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the usual 5, connections made at once wait for seconds


@contextlib.contextmanager
def serving(folder: Path, mode: str = "well", times: int = 10**9):
    server = Server(("127.0.0.1", 0), lambda *args: Handler(*args, directory=str(folder)))
    server.mode, server.times = mode, times
    server.released, server.asked = threading.Event(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
