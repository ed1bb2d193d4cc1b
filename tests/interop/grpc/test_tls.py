#!/usr/bin/python3
"""Mutual TLS: who gets in, who does not, and that new certificates are taken without a restart."""
import os
import signal
import socket
import ssl

from harness import *

CERTS = os.path.join(TMP, "certs")


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=CERTS)


def authority(name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")


def certificate(name, ca, san, usage):
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key",
            "-out", f"{name}.csr", "-subj", f"/CN={name}")
    with open(os.path.join(CERTS, f"{name}.ext"), "w", encoding="ascii") as ext:
        ext.write(f"subjectAltName={san}\nextendedKeyUsage={usage}\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
            "-days", "1", "-extfile", f"{name}.ext", "-out", f"{name}.pem")


def read(name):
    with open(os.path.join(CERTS, name), "rb") as file:
        return file.read()


def path(name):
    return os.path.join(CERTS, name)


os.makedirs(CERTS)
authority("ca")
authority("other-ca")
certificate("server", "ca", "DNS:localhost,IP:127.0.0.1", "serverAuth")
certificate("elsewhere", "ca", "DNS:elsewhere.example", "serverAuth")
certificate("client", "ca", "URI:spiffe://fleet/scheduler", "clientAuth")
certificate("stranger", "other-ca", "URI:spiffe://fleet/scheduler", "clientAuth")

S = Server("--tcp", "127.0.0.1:0", "--cert", path("server.pem"), "--key", path("server.key"), "--ca", path("ca.pem"))


def channel(cert="client", root="ca", port=None, host="localhost"):
    credentials = grpc.ssl_channel_credentials(read(f"{root}.pem"), read(f"{cert}.key") if cert else None,
                                               read(f"{cert}.pem") if cert else None)
    return grpc.secure_channel(f"{host}:{port or S.port}", credentials, options=own_connection())


def echo_code(chan):
    with chan:
        return code_of(lambda: Echo(chan).echo(pb.EchoRequest(), timeout=3))


def log():
    return open(S.log_path, encoding="utf-8").read()


def c_client(*args, cert="client", root="ca", target=None):
    argv = [CLIENT, "--ca", path(f"{root}.pem")]
    if cert:
        argv += ["--cert", path(f"{cert}.pem"), "--key", path(f"{cert}.key")]
    done = subprocess.run([*argv, target or f"localhost:{S.port}", *args], capture_output=True, text=True, timeout=20)
    return done.stdout.split(" ", 2)


@test
def a_client_with_a_certificate_is_served_and_known():
    with channel() as chan:
        answer = Echo(chan).echo(pb.EchoRequest(text="x", payload=b"y" * 3000000), timeout=10)
        assert "spiffe://fleet/scheduler" in answer.peer and answer.peer.startswith("127.0.0.1:"), answer.peer
        equal(sum(1 for _ in Echo(chan).count(pb.CountRequest(count=2000, payload_bytes=5000), timeout=20)), 2000)


@test
def our_client_is_served_too():
    code, n, _ = c_client("echo", "hello")
    equal((code, n), ("OK", "1"))
    code, n, _ = c_client("count", "3000", "1000")
    equal((code, n), ("OK", "3000"))


@test
def no_certificate_is_no_service():
    equal(echo_code(channel(cert=None)), grpc.StatusCode.UNAVAILABLE)
    eventually(lambda: "refused" in log() and "peer did not return a certificate" in log(), "the log says why")
    equal(c_client("echo", "x", cert=None)[0], "UNAVAILABLE")


@test
def a_certificate_of_another_authority_is_no_service():
    equal(echo_code(channel(cert="stranger")), grpc.StatusCode.UNAVAILABLE)
    eventually(lambda: "certificate: " in log(), "the log says why")
    equal(c_client("echo", "x", cert="stranger")[0], "UNAVAILABLE")


@test
def a_server_of_another_authority_or_name_is_not_trusted():
    equal(echo_code(channel(root="other-ca")), grpc.StatusCode.UNAVAILABLE)
    equal(c_client("echo", "x", root="other-ca")[0], "UNAVAILABLE")
    with Server("--tcp", "127.0.0.1:0", "--cert", path("elsewhere.pem"), "--key", path("elsewhere.key"), "--ca",
                path("ca.pem")) as server:
        equal(echo_code(channel(port=server.port)), grpc.StatusCode.UNAVAILABLE)
        code, _, text = c_client("echo", "x", target=f"localhost:{server.port}")
        equal(code, "UNAVAILABLE")
        assert "ostname mismatch" in text, text


@test
def an_address_is_checked_as_an_address():
    equal(c_client("echo", "x", target=f"127.0.0.1:{S.port}")[0], "OK")


def tls_socket(alpn, version=None):
    context = ssl.create_default_context(cafile=path("ca.pem"))
    context.load_cert_chain(path("client.pem"), path("client.key"))
    if alpn:
        context.set_alpn_protocols(alpn)
    if version:
        context.maximum_version = version
    return context.wrap_socket(socket.create_connection(("localhost", S.port), 5), server_hostname="localhost")


@test
def without_alpn_h2_there_is_no_connection():
    for alpn in (None, ["http/1.1"]):
        try:
            with tls_socket(alpn) as sock:
                equal(sock.recv(100), b"")
        except (ssl.SSLError, ConnectionError):
            pass


@test
def tls_1_2_is_spoken_and_1_1_is_not():
    with tls_socket(["h2"], ssl.TLSVersion.TLSv1_2) as sock:
        equal(sock.version(), "TLSv1.2")
    try:
        tls_socket(["h2"], ssl.TLSVersion.TLSv1_1)
        raise AssertionError("TLS 1.1 was accepted")
    except (ssl.SSLError, ConnectionError):
        pass


@test
def plain_bytes_on_the_tls_port_and_back():
    with grpc.insecure_channel(f"localhost:{S.port}", options=own_connection()) as chan:
        equal(code_of(lambda: Echo(chan).echo(pb.EchoRequest(), timeout=3)), grpc.StatusCode.UNAVAILABLE)
    with socket.create_connection(("localhost", S.port), 5) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        try:
            while sock.recv(1000):
                pass
        except ConnectionResetError:
            pass


@test
def new_certificates_are_taken_by_new_connections():
    with channel() as old:
        equal(code_of(lambda: Echo(old).echo(pb.EchoRequest(), timeout=5)), None)
        authority("ca")  # the old one's signatures are worth nothing now
        certificate("server", "ca", "DNS:localhost,IP:127.0.0.1", "serverAuth")
        certificate("client", "ca", "URI:spiffe://fleet/scheduler-2", "clientAuth")
        S.process.send_signal(signal.SIGHUP)
        equal(S.process.stdout.readline(), b"reloaded\n")
        with channel() as new:
            assert "scheduler-2" in Echo(new).echo(pb.EchoRequest(), timeout=5).peer
        equal(code_of(lambda: Echo(old).echo(pb.EchoRequest(), timeout=5)), None)  # goes on as it is
    with open(path("server.pem"), "w", encoding="ascii") as broken:
        broken.write("nothing")
    S.process.send_signal(signal.SIGHUP)
    equal(S.process.stdout.readline(), b"reloaded\n")
    assert "reload: cannot use TLS certificate" in log(), log()
    equal(echo_code(channel()), None)  # with what it had


@test
def a_key_that_everyone_can_read_is_refused():
    os.chmod(path("elsewhere.key"), 0o644)
    try:
        Server("--tcp", "127.0.0.1:0", "--cert", path("elsewhere.pem"), "--key", path("elsewhere.key"), "--ca",
               path("ca.pem"))
        raise AssertionError("it started")
    except RuntimeError as error:
        assert "open to everyone" in str(error), error


@test
def zz_the_server_ends_cleanly():
    S.__exit__(None, None, None)


main()
