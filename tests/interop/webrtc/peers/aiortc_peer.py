"""aiortc: an RTCPeerConnection in Python (OpenSSL, libsrtp), which plays a tone and records what it decoded."""

import argparse
import asyncio
import fractions
import math
import struct

import aiortc
import av
from aiortc import rtcdtlstransport as dtls
from cryptography.hazmat.primitives.asymmetric import rsa

import lines

PROFILES = {
    profile.openssl_profile.decode(): profile
    for profile in [dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_SHA1_80]
}
# What a certificate of RSA needs, and what its own list has, for peers with one of ECDSA.
CIPHERS = b"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"


class RsaCertificate(aiortc.RTCCertificate):
    @classmethod
    def generateCertificate(cls):
        key = rsa.generate_private_key(65537, 2048)
        return cls(key=key, cert=dtls.generate_certificate(key))

    def _create_ssl_context(self, srtp_profiles):
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(CIPHERS)
        return context


class Tone(aiortc.MediaStreamTrack):
    kind = "audio"
    # As a phone: what is resampled for PCMU has a first frame that aiortc cannot send, and stays silent.
    RATE, SAMPLES = 8000, 160

    def __init__(self, frequency):
        super().__init__()
        self.step = math.tau * frequency / self.RATE
        self.at, self.begun = 0, None

    async def recv(self):
        loop = asyncio.get_running_loop()
        self.begun = self.begun or loop.time()
        await asyncio.sleep(self.begun + self.at / self.RATE - loop.time())
        frame = av.AudioFrame(format="s16", layout="mono", samples=self.SAMPLES)
        samples = (round(8000 * math.sin(self.step * (self.at + of))) for of in range(self.SAMPLES))
        frame.planes[0].update(struct.pack(f"<{self.SAMPLES}h", *samples))
        frame.pts, frame.sample_rate, frame.time_base = self.at, self.RATE, fractions.Fraction(1, self.RATE)
        self.at += self.SAMPLES
        return frame


class Peer:
    connection = None

    async def open(self, tone=None, ice=None):
        if self.connection:
            await self.connection.close()
        self.heard = bytearray()
        self.connection = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        self.connection.on("track", lambda track: asyncio.ensure_future(self.hear(track)))
        if tone:
            self.connection.addTrack(Tone(tone))

    async def hear(self, track):
        resampler = av.AudioResampler(format="s16", layout="mono", rate=lines.RATE)
        while track.kind == "audio":
            try:
                frame = await track.recv()
            except aiortc.mediastreams.MediaStreamError:
                return
            for part in resampler.resample(frame):
                self.heard += bytes(part.planes[0])[: 2 * part.samples]

    async def offer(self, restart=False):
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def accept(self, sdp):
        await self.connection.setRemoteDescription(aiortc.RTCSessionDescription(sdp, "offer"))
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        return self.connection.localDescription.sdp

    async def answer(self, sdp, provisional=False):
        await self.connection.setRemoteDescription(aiortc.RTCSessionDescription(sdp, "answer"))

    def transports(self):
        return [transceiver.sender.transport for transceiver in self.connection.getTransceivers()]

    async def states(self):
        return {
            "connection": self.connection.connectionState,
            "ice": self.connection.iceConnectionState,
            "signalling": self.connection.signalingState,
            "dtls": [transport.state for transport in self.transports()],
        }

    async def stats(self):
        reports = {}
        for report in (await self.connection.getStats()).values():
            # Times are no JSON.
            plain = {name: value for name, value in vars(report).items() if isinstance(value, (int, float, str))}
            reports.setdefault(report.type, []).append(plain)
        for transport in self.transports():
            connection = transport._ssl
            of = {
                "srtpCipher": connection.get_selected_srtp_profile().decode() if connection else None,
                "dtlsCipher": connection and connection.get_cipher_name(),
                "tlsVersion": connection and connection.get_protocol_version_name(),
            }
            reports.setdefault("dtls", []).append(of)
        return reports

    async def record(self, file):
        lines.write(file, self.heard)

    async def version(self):
        return aiortc.__version__

    async def close(self):
        await self.connection.close()


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="append", choices=PROFILES, help="all, unless some are given")
    parser.add_argument("--rsa", action="store_true", help="a certificate of RSA")
    options = parser.parse_args()
    if options.profile:
        # The list is read at the handshake, and is the one in the module.
        dtls.SRTP_PROFILES[:] = [PROFILES[name] for name in options.profile]
    if options.rsa:
        aiortc.rtcpeerconnection.RTCCertificate = RsaCertificate
    peer = Peer()
    names = ["open", "offer", "accept", "answer", "states", "stats", "record", "version", "close"]
    await lines.serve({name: getattr(peer, name) for name in names})


asyncio.run(main())
