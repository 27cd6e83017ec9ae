"""The page on which Prometheus reads metrics."""

import contextlib
import http.server
import threading

CONTENT_TYPE = "text/plain"


class MetricsPage:
    """One page over HTTP."""

    def __init__(self, metrics, path, host, port):
        """A page that is served from now on.

        Args:
            metrics: object whose `page` gives the bytes in Prometheus' format.
            path: of the page, as "/metrics".
            host: address to listen on.
            port: 0 lets the system choose.

        Raises:
            OSError: If the address cannot be listened on.
        """

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 10  # seconds; a connection that says nothing would keep its thread

            def do_GET(self):
                if self.path.split("?")[0] != path:
                    self.send_error(404)
                    return
                content = metrics.page()
                self.send_response(200)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):
                    self.wfile.write(content)

            def log_message(self, *_):
                """A line for every scrape says nothing."""

        self._server = http.server.ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    @property
    def port(self):
        """Port that the page is served on."""
        return self._server.server_address[1]

    def close(self):
        """Ends the page."""
        self._server.shutdown()
        self._server.server_close()
