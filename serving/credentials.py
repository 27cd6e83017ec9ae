"""Who may call: certificates of the server and of clients, and bearer tokens."""

import hmac
import pathlib

import grpc

from serving.errors import ServerFileError

# A probe of the platform has no token, and what it learns is no secret.
OPEN_SERVICES = ("/grpc.health.v1.Health/",)


def server_credentials(tls):
    """What the port is opened with.

    Args:
        tls: `TlsConfig`.

    Returns:
        `grpc.ServerCredentials`; with an authority for clients, those without its certificate are not let in.

    Raises:
        ServerFileError: If a file cannot be read or is not in PEM.
    """
    key = _pem("serving.server.tls.key_file", tls.key_file)
    certificate = _pem("serving.server.tls.certificate_file", tls.certificate_file)
    authority = tls.client_ca_file and _pem("serving.server.tls.client_ca_file", tls.client_ca_file)
    return grpc.ssl_server_credentials([(key, certificate)], authority or None, require_client_auth=bool(authority))


def read_tokens(path):
    """The bearer tokens that are let in.

    Args:
        path: file with a token in every line; empty lines and those that begin with # are none.

    Returns:
        Tuple of bytes.

    Raises:
        ServerFileError: If the file cannot be read or holds no token.
    """
    try:
        lines = [line.strip() for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ServerFileError(f"serving.server.token_file must name a readable text file. Received: {path}: {error}") from error
    tokens = tuple(line.encode() for line in lines if line and not line.startswith("#"))
    if not tokens:
        raise ServerFileError(f"{path}: must hold at least one token. Received: none")
    return tokens


class TokenInterceptor(grpc.ServerInterceptor):
    """Refuses calls without one of the tokens, before their messages are read."""

    def __init__(self, tokens):
        """An interceptor for some tokens.

        Args:
            tokens: tuple of bytes.
        """
        self._tokens = tokens
        self._refusal = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation, handler_call_details):
        """The method of a call, or what refuses it.

        Args:
            continuation: function that gives the method.
            handler_call_details: of the call.

        Returns:
            `grpc.RpcMethodHandler`.
        """
        if handler_call_details.method.startswith(OPEN_SERVICES) or self._is_let_in(handler_call_details.invocation_metadata):
            return continuation(handler_call_details)
        return self._refusal

    def _is_let_in(self, metadata):
        given = next((value for key, value in metadata if key == "authorization"), "")
        given = given.encode() if isinstance(given, str) else given
        # All are compared, each in constant time: how long it takes tells nothing about a token.
        return sum(hmac.compare_digest(given, b"Bearer " + token) for token in self._tokens) > 0


def _refuse(request, context):
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "authorization must be `Bearer` and a token that is let in")


def _pem(key, path):
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ServerFileError(f"{key} must name a readable file. Received: {path}: {error}") from error
    if b"-----BEGIN " not in content:
        raise ServerFileError(f"{key} must name a file in PEM. Received: {path}")
    return content
