#!/usr/bin/env bash
# Makes media.pcap anew: what real programs send, captured on a veth pair between two namespaces. Root; needs ffmpeg, openssl, coturn, tcpdump, iproute2.
#   port 5004/5005  RTP and RTCP of ffmpeg (IPv4)      port 5008/5009  SRTP and SRTCP of ffmpeg (IPv4)
#   port 5012/5013  RTP and RTCP of ffmpeg (IPv6)
#   port 4433       DTLS with use_srtp of openssl      port 3478       STUN and TURN channels of coturn
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
left=slcap$$l right=slcap$$r
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; ip netns del $left; ip netns del $right; rm -r "$work"' EXIT

in_left() { ip netns exec "$left" "$@"; }
in_right() { ip netns exec "$right" "$@"; }

ip netns add $left && ip netns add $right
ip -n $left link add eth0 type veth peer name eth0 netns $right
for side in "$left 1" "$right 2"; do
    read -r ns n <<<"$side"
    ip -n "$ns" link set lo up && ip -n "$ns" link set eth0 up
    ip -n "$ns" addr add 10.9.0.$n/24 dev eth0
    ip -n "$ns" addr add fd09::$n/64 dev eth0 nodad
done
in_right tcpdump -q -i eth0 -s 0 -w "$work/all.pcap" -U ip or ip6 2>/dev/null &
capture=$!
sleep 1

send() { in_left timeout 12 ffmpeg -nostdin -loglevel error -re -f lavfi -i sine=440:duration="$1" -c:a "$2" "${@:4}" -f rtp "$3" >/dev/null; }
send 1.2 pcm_alaw 'rtp://10.9.0.2:5004' &
send 1.2 libopus 'srtp://10.9.0.2:5008' -srtp_out_suite AES_CM_128_HMAC_SHA1_80 \
    -srtp_out_params "$(head -c 30 /dev/zero | base64)" &
send 0.8 libopus 'rtp://[fd09::2]:5012' &

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=sluice -days 1 \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
(head -c 16000 /dev/zero; sleep 6) | in_right openssl s_server -quiet -dtls -port 4433 -key "$work/key.pem" -cert "$work/cert.pem" \
    -use_srtp SRTP_AES128_CM_SHA1_80 >/dev/null 2>&1 &
sleep 0.5
for _ in 1 2 3; do
    in_left timeout 1 openssl s_client -dtls -connect 10.9.0.2:4433 -use_srtp SRTP_AES128_CM_SHA1_80 \
        </dev/null >/dev/null 2>&1 || true
done

in_right turnserver -n -L 10.9.0.2 -a -u u:p -r sluice --no-tls --no-dtls --no-cli --log-file /dev/null \
    --pidfile "$work/turn.pid" --allow-loopback-peers >/dev/null 2>&1 &
sleep 1
in_left timeout 10 turnutils_uclient -y -u u -w p -n 8 -m 2 -l 100 10.9.0.2 >/dev/null 2>&1 || true
sleep 1
kill $capture && wait $capture || true
cat "$work/all.pcap" >"$here/media.pcap"
tcpdump -r "$here/media.pcap" 2>/dev/null | wc -l
