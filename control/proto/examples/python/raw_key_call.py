#!/usr/bin/env python3
"""Builds a call leg by leg: a peer with raw keys on one side, SDES in SDP on the other. README.md says how to run it."""

import argparse
import base64
import dataclasses
import json
import secrets
import sys
import time

import grpc

try:
    from sluice.v1 import sluice_pb2 as api
    from sluice.v1.sluice_pb2_grpc import SluiceStub
except ImportError as error:
    sys.exit(f"{error}: make the stubs from the .proto files first, as README.md says, and have PYTHONPATH name them")

# Octets of master key and salt of the suites that this example knows, by their IANA names.
SUITES = {
    "AEAD_AES_256_GCM": (32, 12),
    "AEAD_AES_128_GCM": (16, 12),
    "AES_256_CM_HMAC_SHA1_80": (32, 14),
    "AES_256_CM_HMAC_SHA1_32": (32, 14),
    "AES_CM_128_HMAC_SHA1_80": (16, 14),
    "AES_CM_128_HMAC_SHA1_32": (16, 14),
}
# How long the daemon may take for a call, in seconds.
DEADLINE = 5


class Refused(Exception):
    """Somebody said something that this cannot work with, or the daemon refused something."""


@dataclasses.dataclass(frozen=True)
class Crypto:
    """An a=crypto line (RFC 4568 section 9.1), as far as this example understands them."""

    tag: str
    suite: str
    key_salt: bytes = dataclasses.field(repr=False)
    mki: bytes = b""
    lifetime: int = 0

    @classmethod
    def read(cls, text):
        """The line after `a=crypto:`; None if it has something that is not understood (RFC 4568 section 5.1.2)."""
        tag, suite, keys, *session_parameters = text.split()
        # One with more keys, or with session parameters, is for a client that wants more than an example.
        if suite not in SUITES or session_parameters or ";" in keys or not keys.startswith("inline:"):
            return None
        encoded, *rest = keys.removeprefix("inline:").split("|")
        # Padding is often left out.
        key_salt = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        if len(key_salt) != sum(SUITES[suite]):
            raise Refused(f"crypto line {tag}: {len(key_salt)} octets of key and salt, {suite} has {sum(SUITES[suite])}")
        mki, lifetime = b"", 0
        for parameter in rest:
            if ":" in parameter:
                value, length = parameter.split(":")
                mki = int(value).to_bytes(int(length), "big")
            elif parameter.startswith("2^"):
                lifetime = 2 ** int(parameter.removeprefix("2^"))
            else:
                lifetime = int(parameter)
        return cls(tag, suite, key_salt, mki, lifetime)

    @classmethod
    def own(cls, tag, suite):
        """A fresh key under the tag and suite of an offer's line."""
        return cls(tag, suite, secrets.token_bytes(sum(SUITES[suite])))

    def line(self):
        return f"a=crypto:{self.tag} {self.suite} inline:{base64.b64encode(self.key_salt).decode()}"


@dataclasses.dataclass(frozen=True)
class Offer:
    """What the first medium of an SDP wants."""

    remote: str
    formats: list
    mux: bool
    crypto: Crypto


def read_offer(sdp):
    """Reads an SDP offer with one medium, and chooses the first crypto line that is understood."""
    address = port = None
    formats, mux, crypto = [], False, None
    for line in sdp.splitlines():
        if line.startswith("c=IN IP4 ") or line.startswith("c=IN IP6 "):
            address = line.split()[2].split("/")[0]
        elif line.startswith("m="):
            if port is not None:
                break
            _, port, profile, *formats = line.removeprefix("m=").split()
            if profile not in ("RTP/SAVP", "RTP/SAVPF"):
                raise Refused(f"profile {profile}: this example wants RTP/SAVP with a=crypto")
        elif line == "a=rtcp-mux":
            mux = True
        elif line.startswith("a=crypto:") and port is not None:
            crypto = crypto or Crypto.read(line.removeprefix("a=crypto:"))
    if address is None or port is None:
        raise Refused("the SDP has no c= or no m= line")
    if crypto is None:
        raise Refused(f"no crypto line of the SDP is understood; suites: {', '.join(SUITES)}")
    remote = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return Offer(remote, formats, mux, crypto)


def read_raw_peer(text):
    """What a gateway has of its H.323, MGCP or Jingle peer: where it is, and a key for each direction."""
    peer = json.loads(text)
    keys = [Crypto("", peer["suite"], base64.b64decode(peer[name])) for name in ("sends_under", "gets_under")]
    return peer["remote"], *keys


def answer(offer, local, own):
    """The SDP answer to the SIP peer."""
    address, port = local.rsplit(":", 1)
    address = address.strip("[]")
    family = "IP6" if ":" in address else "IP4"
    lines = [
        "v=0",
        f"o=- {secrets.randbits(62)} 1 IN {family} {address}",
        "s=-",
        f"c=IN {family} {address}",
        "t=0 0",
        f"m=audio {port} RTP/SAVP {' '.join(offer.formats)}",
        own.line(),
    ]
    return "".join(line + "\r\n" for line in lines + ["a=rtcp-mux"] * offer.mux)


class Call:
    """A session with two legs."""

    def __init__(self, channel, session):
        self.daemon = SluiceStub(channel)
        self.session = session

    def create(self, raw, offer, own, sip_over_tls):
        """Makes the call; returns the local address of the SIP leg. What was made of one that fails is removed."""
        self.daemon.CreateSession(
            api.CreateSessionRequest(session=self.session, labels={"made-by": "raw_key_call.py"}), timeout=DEADLINE
        )
        say(f"session {self.session}")
        try:
            return self._fill(raw, offer, own, sip_over_tls)
        except BaseException:
            self.end()
            raise

    def _fill(self, raw, offer, own, sip_over_tls):
        remote, sends_under, gets_under = raw
        self._leg("raw", remote, keying=api.KEYING_STATIC)
        sip = self._leg(
            "sip",
            offer.remote,
            keying=api.KEYING_SDES,
            rtcp_mux=offer.mux,
            attestation=api.LegAttestation(hop_tls=sip_over_tls),
        )
        self._keys(
            self._key("raw", api.DIRECTION_INBOUND, sends_under),
            self._key("raw", api.DIRECTION_OUTBOUND, gets_under),
            # Who offers says what it sends under (RFC 4568 section 5.1.1), and so does who answers.
            self._key("sip", api.DIRECTION_INBOUND, offer.crypto),
            self._key("sip", api.DIRECTION_OUTBOUND, own),
        )
        for source, sink in [("raw", "sip"), ("sip", "raw")]:
            route = api.Route(session=self.session, id=f"{source}-to-{sink}", **{"from": source, "to": sink})
            self.daemon.CreateRoute(api.CreateRouteRequest(route=route), timeout=DEADLINE)
            say(f"route {route.id}")
        return sip.local_rtp

    def _leg(self, name, remote, **choices):
        config = api.LegConfig(
            remote=remote, inbound=api.PROTECTION_SRTP, outbound=api.PROTECTION_SRTP, **choices
        )
        request = api.CreateLegRequest(session=self.session, leg=name, config=config)
        leg = self.daemon.CreateLeg(request, timeout=DEADLINE)
        say(f"leg {name}: {leg.local_rtp} for {remote}, {api.RobustnessClass.Name(leg.robustness)}")
        return leg

    def _key(self, leg, direction, crypto):
        return api.KeyInstall(
            session=self.session,
            leg=leg,
            key="first",
            direction=direction,
            suite=crypto.suite,
            key_salt=crypto.key_salt,
            mki=crypto.mki,
            lifetime_rtp_packets=crypto.lifetime,
        )

    def _keys(self, *keys):
        results = self.daemon.InstallKeys(api.InstallKeysRequest(keys=keys), timeout=DEADLINE).results
        for asked, result in zip(keys, results):
            if result.HasField("failure"):
                raise Refused(f"key of {asked.leg}: {result.failure.message} ({result.failure.remedy})")
            say(f"key of {asked.leg}, {api.Direction.Name(asked.direction)}: {asked.suite}")

    def packets(self):
        """Of each leg, how many RTP packets came and went."""
        request = api.GetStatisticsRequest(session=self.session)
        legs = self.daemon.GetStatistics(request, timeout=DEADLINE).legs
        return {leg.leg: (leg.received_rtp_packets, leg.sent_rtp_packets) for leg in legs}

    def end(self):
        self.daemon.DeleteSession(api.DeleteSessionRequest(session=self.session), timeout=DEADLINE)
        say(f"session {self.session} ended")


def say(what):
    print(f"# {what}", flush=True)


def run(options):
    with open(options.offer, encoding="utf-8") as file:
        offer = read_offer(file.read())
    with open(options.raw, encoding="utf-8") as file:
        raw = read_raw_peer(file.read())
    own = Crypto.own(offer.crypto.tag, offer.crypto.suite)
    # Of a Unix socket gRPC makes an authority with percent signs, which HTTP/2 servers need not take: the daemon's does not.
    choices = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(f"unix:{options.socket}", options=choices) as channel:
        call = Call(channel, options.session)
        local = call.create(raw, offer, own, options.sip_over_tls)
        try:
            say("-" * 20)
            print(answer(offer, local, own), end="", flush=True)
            say("-" * 20)
            end = time.monotonic() + options.seconds
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, 5))
                for leg, (came, went) in call.packets().items():
                    say(f"leg {leg}: {came} packets came, {went} went")
        except KeyboardInterrupt:
            pass
        finally:
            call.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", default="/run/sluice/sluice.sock", help="the daemon's api.socket")
    parser.add_argument("--session", default="raw-key-call")
    parser.add_argument("--raw", required=True, help="JSON file: remote, suite, sends_under, gets_under")
    parser.add_argument("--offer", required=True, help="file with the SIP peer's SDP offer")
    parser.add_argument("--sip-over-tls", action="store_true", help="attest that the offer came over TLS")
    parser.add_argument("--seconds", type=float, default=3600, help="how long the call lasts")
    try:
        run(parser.parse_args())
    except grpc.RpcError as error:
        sys.exit(f"the daemon says {error.code().name}: {error.details()}")
    except (OSError, KeyError, ValueError, Refused) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
