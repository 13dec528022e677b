// The page: makes a call, and asks twice a second how it is.
"use strict";

const POLL_MS = 500;
// Candidates that have not come by then are not waited for: Sluice learns the browser's address from its checks.
const GATHERING_MS = 1000;

const element = (id) => document.getElementById(id);
const state = { connection: null, session: null, timer: null, context: null, tracks: [] };

element("call").addEventListener("click", () => begin().catch(failed));
element("hangup").addEventListener("click", () => hangUp().catch(failed));

async function begin() {
  element("call").disabled = true;
  say("Asking for audio…");
  const connection = new RTCPeerConnection();
  state.connection = connection;
  state.context = new AudioContext();
  await state.context.resume();
  state.tracks = element("microphone").checked ? await microphone() : tone(state.context);
  for (const track of state.tracks) connection.addTrack(track);
  connection.addEventListener("track", (event) => listen(event.track));
  connection.addEventListener("connectionstatechange", () => say(`The browser says: ${connection.connectionState}.`));
  await connection.setLocalDescription();
  await gathered(connection);
  const answer = await post("/offer", { sdp: connection.localDescription.sdp });
  state.session = answer.session;
  element("hangup").disabled = false;
  await connection.setRemoteDescription({ type: "answer", sdp: answer.sdp });
  state.timer = setInterval(() => poll().catch(failed), POLL_MS);
}

async function hangUp() {
  const { session } = state;
  stop();
  if (session) await post(`/hangup/${session}`, {});
  say("Hung up.");
}

function stop() {
  clearInterval(state.timer);
  state.connection?.close();
  state.context?.close();
  for (const track of state.tracks) track.stop();
  Object.assign(state, { connection: null, session: null, timer: null, context: null, tracks: [] });
  element("call").disabled = false;
  element("hangup").disabled = true;
  element("level").value = 0;
}

function failed(error) {
  console.error(error);
  stop();
  say(`It did not work: ${error.message}`);
}

async function microphone() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  return stream.getAudioTracks();
}

function tone(context) {
  const oscillator = new OscillatorNode(context, { frequency: 440 });
  const volume = new GainNode(context, { gain: 0.2 });
  const end = new MediaStreamAudioDestinationNode(context);
  oscillator.connect(volume).connect(end);
  oscillator.start();
  return end.stream.getAudioTracks();
}

// Plays what comes back, and shows how loud it is.
function listen(track) {
  const stream = new MediaStream([track]);
  element("audio").srcObject = stream;
  const { context } = state;
  const analyser = new AnalyserNode(context, { fftSize: 1024 });
  new MediaStreamAudioSourceNode(context, { mediaStream: stream }).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const draw = () => {
    if (state.context !== context) return;
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    element("level").value = Math.min(1, Math.sqrt(power) * 3);
    setTimeout(draw, 100);
  };
  draw();
}

function gathered(connection) {
  if (connection.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    setTimeout(resolve, GATHERING_MS);
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState === "complete") resolve();
    });
  });
}

async function poll() {
  const { session } = state;
  if (!session) return;
  const response = await fetch(`/status/${session}`);
  if (!response.ok) throw new Error(await response.text());
  const status = await response.json();
  if (state.session === session) show(status);
}

function show(status) {
  const [caller, callee] = ["caller", "callee"].map((side) => status.legs.find((leg) => leg.side === side));
  element("robustness").textContent = status.robustness || "none yet";
  element("browser-address").textContent = caller?.remote || "not known yet";
  element("gateway-address").textContent = caller?.local ?? "";
  element("echo-address").textContent = callee?.remote ?? "";
  wire("caller", caller);
  wire("callee", callee);
  facts([caller, callee]);
}

function wire(side, leg) {
  const secure = Boolean(leg?.suite);
  const open = leg !== undefined && !leg.media_path && !secure;
  element(`wire-${side}`).className = `wire ${secure ? "secure" : open ? "plain" : ""}`;
  const why = leg?.media_path?.explanation;
  element(`${side}-label`).textContent = secure ? leg.suite : open ? "plain RTP" : why || "no keys yet";
  element(`${side}-count`).textContent = leg ? `${leg.received_rtp} → ← ${leg.sent_rtp}` : "";
}

function facts(legs) {
  const path = (leg) => leg?.media_path;
  const rows = [
    ["keying", (leg) => leg.keying || "none"],
    ["connectivity checks", (leg) => path(leg)?.ice || "none"],
    ["handshake", (leg) => [path(leg)?.dtls, path(leg)?.version, path(leg)?.cipher].filter(Boolean).join(", ") || "none"],
    ["forward secret", (leg) => (path(leg)?.dtls === "established" ? (path(leg).forward_secret ? "yes" : "no") : "")],
    ["suite of the media", (leg) => leg.suite || "none: plain RTP"],
    ["peer's fingerprint", (leg) => path(leg)?.peer_fingerprint || ""],
    ["robustness class", (leg) => leg.robustness],
    ["why", (leg) => leg.robustness_explanation],
    ["packets received", (leg) => `${leg.received_rtp} RTP, ${leg.received_rtcp} RTCP`],
    ["packets sent", (leg) => `${leg.sent_rtp} RTP, ${leg.sent_rtcp} RTCP`],
    ["datagrams of checks and handshakes", (leg) => leg.negotiation],
    ["dropped", (leg) => leg.dropped],
    ["by", (leg) => leg.path],
  ];
  element("facts").tBodies[0].replaceChildren(...rows.map(([title, value]) => {
    const row = document.createElement("tr");
    row.append(cell("th", title), ...legs.map((leg) => cell("td", leg ? value(leg) : "")));
    return row;
  }));
}

function cell(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}

function say(text) {
  element("message").textContent = text;
}

async function post(path, what) {
  const headers = { "content-type": "application/json" };
  const response = await fetch(path, { method: "POST", headers, body: JSON.stringify(what) });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}
