"""GStreamer's dtlssrtpenc and dtlssrtpdec (OpenSSL, libsrtp): a tone in PCMU, and an SDP that is made for it."""

import argparse
import asyncio
import hashlib
import pathlib
import re
import ssl
import tempfile

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gio, Gst

import lines

# `close-socket`: both ends of the pipeline have the one socket.
PIPELINE = """
    udpsrc name=in close-socket=false ! dtlssrtpdec name=dec connection-id=call
    dec.rtp_src ! capssetter replace=true join=false caps=application/x-rtp,media=audio,clock-rate=8000,encoding-name=PCMU,payload=0
        ! rtpjitterbuffer latency=60 ! rtppcmudepay ! mulawdec ! audio/x-raw,rate=8000,channels=1
        ! filesink name=heard buffer-mode=unbuffered sync=false async=false
    dec.rtcp_src ! fakesink async=false
    audiotestsrc is-live=true wave=sine volume=0.25 freq={tone} ! audio/x-raw,rate=8000,channels=1
        ! mulawenc ! rtppcmupay min-ptime=20000000 max-ptime=20000000 ! enc.rtp_sink_0
    dtlssrtpenc name=enc connection-id=call ! udpsink name=out close-socket=false sync=false async=false
"""

# By the value of the property srtp-auth of dtlsdec, a GstDtlsSrtpAuth.
PROFILES = {1: "SRTP_AES128_CM_SHA1_32", 2: "SRTP_AES128_CM_SHA1_80"}


def fingerprint_of(pem):
    """The fingerprint of a certificate by SHA-256 (RFC 8122 section 5)."""
    octets = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
    return ":".join(re.findall("..", octets))


class Peer:
    pipeline = None

    def __init__(self, options):
        self.options = options
        self.directory = tempfile.TemporaryDirectory()

    def element(self, name):
        return self.pipeline.get_by_name(name)

    async def open(self, tone):
        address = Gio.InetAddress.new_from_string(self.options.address)
        self.socket = Gio.Socket.new(Gio.SocketFamily.IPV4, Gio.SocketType.DATAGRAM, Gio.SocketProtocol.UDP)
        self.socket.bind(Gio.InetSocketAddress.new(address, self.options.port), True)
        self.pipeline = Gst.parse_launch(PIPELINE.format(tone=tone))
        self.heard = pathlib.Path(self.directory.name, "heard")
        self.element("heard").set_property("location", str(self.heard))

    def sdp(self, setup):
        fingerprint = fingerprint_of(self.element("dec").get_property("pem"))
        address = self.options.address
        return (
            f"v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
            f"m=audio {self.options.port} UDP/TLS/RTP/SAVP 0\r\na=rtpmap:0 PCMU/8000\r\na=rtcp-mux\r\n"
            f"a=setup:{setup}\r\na=fingerprint:sha-256 {fingerprint}\r\n"
        )

    async def offer(self):
        return self.sdp("actpass")

    async def accept(self, sdp):
        theirs = re.search(r"a=setup:(\w+)", sdp)[1]
        setup = "passive" if theirs == "active" or self.options.passive else "active"
        self.begin(sdp, setup == "active")
        return self.sdp(setup)

    async def answer(self, sdp):
        self.begin(sdp, re.search(r"a=setup:(\w+)", sdp)[1] == "passive")

    def begin(self, sdp, client):
        host, port = re.search(r"c=IN IP4 (\S+)", sdp)[1], int(re.search(r"m=audio (\d+)", sdp)[1])
        self.theirs = {value.upper() for value in re.findall(r"a=fingerprint:sha-256 (\S+)", sdp)}
        self.element("enc").set_property("is-client", client)
        self.element("in").set_property("socket", self.socket)
        for name, value in {"socket": self.socket, "host": host, "port": port}.items():
            self.element("out").set_property(name, value)
        self.pipeline.set_state(Gst.State.PLAYING)

    async def states(self):
        # It compares no fingerprints: that is for who uses it.
        pem = self.element("dec").get_property("peer-pem")
        if not pem:
            return {"connection": "connecting"}
        return {"connection": "connected" if fingerprint_of(pem) in self.theirs else "failed"}

    async def stats(self):
        for element in self.element("dec").children:
            if element.get_factory().get_name() == "dtlsdec":
                return {"dtls": [{"srtpCipher": PROFILES.get(element.get_property("srtp-auth"), "")}]}

    async def record(self, file):
        lines.write(file, self.heard.read_bytes())

    async def version(self):
        return Gst.version_string()

    async def close(self):
        self.pipeline.set_state(Gst.State.NULL)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--passive", action="store_true", help="answers so, where it may choose")
    Gst.init(None)
    peer = Peer(parser.parse_args())
    names = ["open", "offer", "accept", "answer", "states", "stats", "record", "version", "close"]
    await lines.serve({name: getattr(peer, name) for name in names})


asyncio.run(main())
