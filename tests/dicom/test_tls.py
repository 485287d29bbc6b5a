"""TLS on both sides, with certificates by openssl and callers of dcmtk."""

import socket
import subprocess

import pytest

from support.dicom_node import archive, chest, echo, node, save, send
from support.environment import program
from support.ports import free_port
from support.processes import eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and certificates of it for the node and for a client, by openssl."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments):
        subprocess.run([program("openssl"), *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("node", "client"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return folder


def test_tls_with_certificates_on_both_sides(certificates, model_file, tmp_path):
    port, to, tls = free_port(), free_port(), certificates
    ours = ["--tls-cert", tls / "node.pem", "--tls-key", tls / "node.key", "--tls-ca", tls / "ca.pem"]
    shown = [str(option) for option in ("+tls", tls / "client.key", tls / "client.pem", "+cf", tls / "ca.pem")]
    nothing = ["+tla", "+cf", str(tls / "ca.pem")]
    forward = ["--forward", f"ARCHIVE@127.0.0.1:{to}", "--forward-tls"]
    with (
        archive(tmp_path / "archive", to, *shown),
        node(tmp_path / "queue", model_file, port, *ours, *forward),
        socket.create_connection(("127.0.0.1", port)),  # a silent caller keeps nobody out
    ):
        assert echo(port, "COVIDCXR", "MODALITY", *shown)
        assert not echo(port, "COVIDCXR", "MODALITY", *nothing)
        assert not echo(port)
        assert send(port, save(chest(), tmp_path / "1.dcm"), options=shown).returncode == 0
        eventually(lambda: len(list((tmp_path / "archive").iterdir())) == 3)
