"""A user agent on pjsua2 with SDES: plays a WAV file, and records what it decoded to another.

It takes calls, or makes one; it ends with the call, and then with status 0 if there was media.
"""

import argparse
import sys
import time

import pjsua2 as pj

SRTP = {
    "off": pj.PJMEDIA_SRTP_DISABLED,
    "optional": pj.PJMEDIA_SRTP_OPTIONAL,
    "mandatory": pj.PJMEDIA_SRTP_MANDATORY,
}


class Call(pj.Call):
    def __init__(self, account, agent, call_id=pj.PJSUA_INVALID_ID):
        super().__init__(account, call_id)
        self.agent = agent

    def onCallState(self, prm):
        info = self.getInfo()
        print("state", info.stateText, info.lastStatusCode, flush=True)
        if info.state == pj.PJSIP_INV_STATE_DISCONNECTED:
            self.agent.over = True

    def onCallMediaState(self, prm):
        # Its media are freed with it.
        info = self.getInfo()
        for index, media in enumerate(info.media):
            if media.type == pj.PJMEDIA_TYPE_AUDIO and media.status == pj.PJSUA_CALL_MEDIA_ACTIVE:
                audio = self.getAudioMedia(index)
                self.agent.player.startTransmit(audio)
                audio.startTransmit(self.agent.recorder)
                self.agent.heard = True
                print("media", flush=True)


class Account(pj.Account):
    def __init__(self, agent):
        super().__init__()
        self.agent = agent

    def onIncomingCall(self, prm):
        self.agent.call = Call(self, self.agent, prm.callId)
        answer = pj.CallOpParam()
        answer.statusCode = 200
        self.agent.call.answer(answer)


class Agent:
    call = None
    over = heard = False

    def __init__(self, options):
        self.options = options
        self.endpoint = pj.Endpoint()
        self.endpoint.libCreate()
        config = pj.EpConfig()
        config.logConfig.level = config.logConfig.consoleLevel = 4
        config.uaConfig.threadCnt = 0
        config.uaConfig.mainThreadOnly = True
        config.medConfig.clockRate = config.medConfig.sndClockRate = 8000
        config.medConfig.noVad = True
        config.medConfig.ecTailLen = 0
        self.endpoint.libInit(config)
        transport = pj.TransportConfig()
        transport.port = options.port
        transport.boundAddress = options.address
        self.endpoint.transportCreate(pj.PJSIP_TRANSPORT_UDP, transport)
        self.endpoint.libStart()
        self.endpoint.audDevManager().setNullDev()
        for codec in self.endpoint.codecEnum2():
            self.endpoint.codecSetPriority(codec.codecId, 255 if codec.codecId.startswith("PCMU") else 0)
        self.player, self.recorder = pj.AudioMediaPlayer(), pj.AudioMediaRecorder()
        self.player.createPlayer(options.play)
        self.recorder.createRecorder(options.record)
        self.account = Account(self)
        self.account.create(self.account_config())

    def account_config(self):
        options = self.options
        account = pj.AccountConfig()
        account.idUri = f"sip:{options.user}@{options.address}:{options.port}"
        media = account.mediaConfig
        media.transportConfig.boundAddress = media.transportConfig.publicAddress = options.address
        media.transportConfig.port = options.rtp
        media.srtpUse = SRTP[options.srtp]
        media.srtpSecureSignaling = 0
        media.srtpOpt.keyings = pj.IntVector([pj.PJMEDIA_SRTP_KEYING_SDES])
        cryptos = pj.SrtpCryptoVector()
        for suite in options.suite:
            crypto = pj.SrtpCrypto()
            crypto.name = suite
            cryptos.append(crypto)
        media.srtpOpt.cryptos = cryptos
        return account

    def run(self):
        print("ready", flush=True)
        if self.options.call:
            self.call = Call(self.account, self)
            self.call.makeCall(self.options.call, pj.CallOpParam(True))
        end = time.monotonic() + self.options.seconds
        begin = time.monotonic()
        planned = [(self.options.reinvite, self.reinvite), (self.options.hold, self.hold), (self.options.resume, self.resume)]
        planned = sorted((at, act) for at, act in planned if at)
        while not self.over:
            self.endpoint.libHandleEvents(10)
            now = time.monotonic()
            if planned and now > begin + planned[0][0]:
                planned.pop(0)[1]()
            if self.call and now > end:
                end += 60
                self.call.hangup(pj.CallOpParam())
        heard = self.heard
        # Objects that belong to the library go before it does; recording ends with its object.
        self.call = self.account = self.player = self.recorder = None
        self.endpoint.libDestroy()
        return heard

    def reinvite(self):
        self.call.reinvite(pj.CallOpParam(True))

    def hold(self):
        self.call.setHold(pj.CallOpParam(True))

    def resume(self):
        resumed = pj.CallOpParam(True)
        resumed.opt.flag = pj.PJSUA_CALL_UNHOLD
        self.call.reinvite(resumed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--rtp", type=int, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--play", required=True)
    parser.add_argument("--record", required=True)
    parser.add_argument("--srtp", choices=SRTP, default="mandatory")
    parser.add_argument("--suite", action="append", default=[])
    parser.add_argument("--call", help="whom to call")
    parser.add_argument("--seconds", type=float, default=60, help="when to hang up")
    parser.add_argument("--reinvite", type=float, default=0, help="when to offer anew")
    parser.add_argument("--hold", type=float, default=0, help="when to put the call on hold")
    parser.add_argument("--resume", type=float, default=0, help="when to go on with it")
    sys.exit(0 if Agent(parser.parse_args()).run() else 1)


if __name__ == "__main__":
    main()
