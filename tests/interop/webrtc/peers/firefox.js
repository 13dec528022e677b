// What is another thing in Firefox, which runs no AudioContext without a sound card: its fake microphone plays the tone
// (media.navigator.audio.fake_frequency), and what it decodes is recorded in a format of its choice.
"use strict";

Object.assign(peer, {
  recorder: null,

  async tone() {
    const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
    return microphone.getAudioTracks()[0];
  },

  hear(track) {
    const stream = this.play(track);
    if (track.kind !== "audio") return;
    const recorder = new MediaRecorder(stream);
    const samples = this.samples;
    recorder.ondataavailable = ({ data }) => samples.push(data);
    recorder.start();
    this.recorder = recorder;
  },

  // What was heard, as a file in base64.
  async recording() {
    const recorded = new Promise((resolve) => (this.recorder.onstop = resolve));
    this.recorder.stop();
    await recorded;
    const octets = new Uint8Array(await new Blob(this.samples).arrayBuffer());
    return btoa(Array.from(octets, (octet) => String.fromCharCode(octet)).join(""));
  },
});
window.peer = peer;
