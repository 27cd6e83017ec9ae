"""How the ranker reaches model servers: encrypted or not, with a token or without."""

import pathlib

import grpc

from serving.errors import ServerFileError


def open_channel(address, access, options):
    """A connection to a model server, made with the first call.

    Args:
        address: `host:port`.
        access: `BackendAccessConfig`.
        options: list of gRPC's options by name.

    Returns:
        `grpc.Channel`.

    Raises:
        ServerFileError: If a file cannot be read.
    """
    if access.ca_file is None:
        return grpc.insecure_channel(address, options=options)
    authorities = _content("ca_file", access.ca_file)
    key = access.key_file and _content("key_file", access.key_file)
    certificate = access.certificate_file and _content("certificate_file", access.certificate_file)
    if access.server_name is not None:
        options = [*options, ("grpc.ssl_target_name_override", access.server_name)]
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authorities, key, certificate), options=options)


def call_metadata(access):
    """What every call carries.

    Args:
        access: `BackendAccessConfig`.

    Returns:
        Tuple of names with values; a bearer token, or nothing.

    Raises:
        ServerFileError: If the file cannot be read or holds no token.
    """
    if access.token_file is None:
        return ()
    lines = _content("token_file", access.token_file).decode(errors="replace").splitlines()
    tokens = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not tokens:
        raise ServerFileError(f"{access.token_file}: must hold a token. Received: none")
    return (("authorization", f"Bearer {tokens[0]}"),)


def _content(key, path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ServerFileError(f"serving.ranker.access.{key} must name a readable file. Received: {path}: {error}") from error
