// What a page of the tests does as a WebRTC peer. Audio that it sends is a tone of an oscillator; what it decodes is
// recorded at 8000 samples a second. Firefox does both otherwise: firefox.js.
"use strict";

const RATE = 8000;
const RECORDER = `registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([input]) {
    if (input[0]) this.port.postMessage(input[0].slice());
    return true;
  }
});`;

const peer = {
  connection: null,
  samples: [],
  contexts: [],
  elements: [],

  // A new call: `tone` in hertz, or none; `video` with so many encodings, or none; `configuration` as RTCPeerConnection
  // has it.
  async open({ tone, video, configuration }) {
    this.connection?.close();
    this.contexts.forEach((context) => context.close());
    [this.samples, this.contexts, this.elements] = [[], [], []];
    // With this permission all interfaces are for candidates, and their addresses are no secret: as in a call.
    const devices = await navigator.mediaDevices.getUserMedia({ audio: true, video: Boolean(video) });
    const connection = new RTCPeerConnection(configuration);
    this.connection = connection;
    connection.ontrack = ({ track }) => this.hear(track);
    if (tone) connection.addTrack(await this.tone(tone), new MediaStream());
    // A transceiver of addTrack takes up a line that is offered, and one with encodings never does.
    if (video === 1) connection.addTrack(devices.getVideoTracks()[0], new MediaStream());
    if (video > 1) {
      const rids = ["q", "h", "f"].slice(-video);
      const sendEncodings = rids.map((rid, at) => ({ rid, scaleResolutionDownBy: 2 ** (rids.length - 1 - at) }));
      connection.addTransceiver(devices.getVideoTracks()[0], { direction: "sendrecv", sendEncodings });
    }
    devices.getAudioTracks().forEach((track) => track.stop());
  },

  tone(frequency) {
    const context = new AudioContext();
    const [oscillator, quieter] = [new OscillatorNode(context, { frequency }), new GainNode(context, { gain: 0.25 })];
    const out = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
    oscillator.connect(quieter).connect(out);
    oscillator.start();
    this.contexts.push(context);
    return out.stream.getAudioTracks()[0];
  },

  // Chromium decodes nothing that no element plays.
  play(track) {
    const stream = new MediaStream([track]);
    const element = document.createElement(track.kind);
    element.srcObject = stream;
    element.muted = true;
    element.play();
    this.elements.push(element);
    return stream;
  },

  async hear(track) {
    const stream = this.play(track);
    if (track.kind !== "audio") return;
    const context = new AudioContext({ sampleRate: RATE });
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([RECORDER], { type: "text/javascript" })));
    const recorder = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
    const { samples } = this;
    recorder.port.onmessage = ({ data }) => samples.push(data);
    context.createMediaStreamSource(stream).connect(recorder).connect(context.destination);
    this.contexts.push(context);
  },

  async offer({ restart }) {
    await this.connection.setLocalDescription(await this.connection.createOffer({ iceRestart: Boolean(restart) }));
    return this.gathered();
  },

  async accept({ sdp }) {
    await this.connection.setRemoteDescription({ type: "offer", sdp });
    await this.connection.setLocalDescription(await this.connection.createAnswer());
    return this.gathered();
  },

  async answer({ sdp, provisional }) {
    await this.connection.setRemoteDescription({ type: provisional ? "pranswer" : "answer", sdp });
  },

  async candidate({ candidate, mid }) {
    await this.connection.addIceCandidate(candidate ? { candidate, sdpMid: mid } : undefined);
  },

  // The local description, once all candidates are in it. After a restart its state is that of before for a while.
  async gathered() {
    const connection = this.connection;
    const done = () => connection.iceGatheringState === "complete" && connection.localDescription.sdp.includes("a=candidate");
    for (let turns = 0; turns < 300 && !done(); turns++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return connection.localDescription.sdp;
  },

  async states() {
    const { connectionState, iceConnectionState, signalingState } = this.connection;
    const transports = this.connection.getTransceivers().map(({ sender }) => sender.transport?.state);
    return { connection: connectionState, ice: iceConnectionState, signalling: signalingState, dtls: transports };
  },

  // The reports of getStats, by their types.
  async stats() {
    const reports = {};
    for (const report of (await this.connection.getStats()).values()) {
      (reports[report.type] ??= []).push(report);
    }
    return reports;
  },

  async close() {
    this.connection.close();
  },

  // What was heard, as 16-bit samples in base64.
  recording() {
    const samples = Int16Array.from(this.samples.flatMap((block) => [...block]), (sample) => {
      return Math.round(32767 * Math.max(-1, Math.min(1, sample)));
    });
    const octets = new Uint8Array(samples.buffer);
    let text = "";
    for (let at = 0; at < octets.length; at += 32768) {
      text += String.fromCharCode(...octets.subarray(at, at + 32768));
    }
    return btoa(text);
  },
};
