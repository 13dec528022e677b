//! `sluice ctl call`: offers and answers by hand, and what calls are like.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};
use sluice_proto::v1;
use sluice_proto::v1::signalling_client::SignallingClient;
use tonic::transport::Channel;

use super::call::answer;
use super::json;
use super::media_path::Candidates;
use super::print::Printer;
use crate::secret;

#[derive(Subcommand)]
pub(super) enum Calls {
    /// Hand in an offer; prints the SDP for the other side.
    Offer(Offer),
    /// Hand in an answer; prints the SDP for who offered.
    Answer(Answer),
    /// The pending offer was refused.
    Reject {
        /// The call's session.
        session: String,
        #[command(flatten)]
        branch: Branch,
    },
    /// Fork: prints the SDP for another callee.
    Branch {
        /// The call's session.
        session: String,
        /// The new branch.
        branch: String,
    },
    /// Go on with one branch, and drop the others.
    Select {
        /// The call's session.
        session: String,
        /// The branch.
        branch: String,
    },
    /// Drop a branch.
    Drop {
        /// The call's session.
        session: String,
        /// The branch.
        branch: String,
    },
    /// Replace a branch by a new one: prints the SDP for the new target.
    Retarget {
        /// The call's session.
        session: String,
        /// The new branch.
        new_branch: String,
        #[command(flatten)]
        branch: Branch,
    },
    /// Tell a call more of a peer's ICE candidates.
    Candidates {
        session: String,
        #[command(flatten)]
        branch: Branch,
        /// Whose they are.
        #[arg(long)]
        from: Side,
        /// The media line's a=mid.
        #[arg(long, default_value = "", hide_default_value = true)]
        mid: String,
        /// The media line, counted from 0, where it has no mid.
        #[arg(long, default_value_t = 0)]
        line: u32,
        #[command(flatten)]
        more: Candidates,
    },
    /// End a call, and its session.
    End {
        /// The call's session.
        session: String,
    },
    /// Show one call: each media line, how it is keyed, and what that resists.
    Show {
        /// The call's session.
        session: String,
    },
    /// List all calls.
    List,
}

#[derive(Args)]
pub(super) struct Branch {
    /// The branch; without it the selected or only one.
    #[arg(long, default_value = "")]
    branch: String,
}

#[derive(Args)]
pub(super) struct Offer {
    /// The call's session.
    session: String,
    /// The SDP; standard input if absent.
    file: Option<PathBuf>,
    /// Who offers.
    #[arg(long, default_value = "caller")]
    from: Side,
    #[command(flatten)]
    branch: Branch,
    /// What the caller's side takes; without it, what the configuration says.
    #[arg(long)]
    caller_security: Option<Security>,
    /// What the callee's side takes.
    #[arg(long)]
    callee_security: Option<Security>,
    /// A whole policy: a file with a SessionPolicy of the API as JSON.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    attested: Attested,
}

#[derive(Args)]
pub(super) struct Answer {
    /// The call's session.
    session: String,
    /// The SDP; standard input if absent.
    file: Option<PathBuf>,
    #[command(flatten)]
    branch: Branch,
    /// Others may follow, as after SIP's 183.
    #[arg(long)]
    provisional: bool,
    #[command(flatten)]
    attested: Attested,
}

#[derive(Args)]
pub(super) struct Attested {
    /// The SDP came over TLS on every hop.
    #[arg(long)]
    hop_tls: bool,
    /// Names the request, so that it can be repeated.
    #[arg(long, default_value = "", hide_default_value = true)]
    request_id: String,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Side {
    /// Who offered first.
    Caller,
    /// Who answered.
    Callee,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Keying {
    /// None: plain RTP.
    None,
    /// SDP security descriptions.
    Sdes,
    /// DTLS-SRTP.
    DtlsSrtp,
    /// MIKEY in SDP.
    Mikey,
    /// ZRTP.
    Zrtp,
    /// Keys that the caller of the API installs.
    Static,
}

impl From<Keying> for v1::Keying {
    fn from(keying: Keying) -> Self {
        match keying {
            Keying::None => Self::None,
            Keying::Sdes => Self::Sdes,
            Keying::DtlsSrtp => Self::DtlsSrtp,
            Keying::Mikey => Self::Mikey,
            Keying::Zrtp => Self::Zrtp,
            Keying::Static => Self::Static,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Security {
    /// SRTP or nothing.
    Required,
    /// SRTP whenever the peer can.
    BestEffort,
    /// Plain RTP only.
    Plain,
}

/// Makes one call of the API and prints the answer.
pub(super) async fn call(channel: Channel, command: Calls, print: Printer) -> Result<()> {
    let mut client = SignallingClient::new(channel).max_decoding_message_size(super::client::LARGEST_ANSWER);
    let request_id = String::new();
    match command {
        Calls::Offer(offer) => {
            let request = offer.request()?;
            let response = answer(client.process_offer(request).await)?;
            print.sdp(&response, &response.sdp)
        }
        Calls::Answer(Answer { session, file, branch: Branch { branch }, provisional, attested }) => {
            let request = v1::ProcessAnswerRequest {
                session,
                branch,
                sdp: read(file.as_ref())?.to_string(),
                provisional,
                attestation: attested.attestation(),
                request_id: attested.request_id,
                ..Default::default()
            };
            let response = answer(client.process_answer(request).await)?;
            print.sdp(&response, &response.sdp)
        }
        Calls::Reject { session, branch: Branch { branch } } => {
            let request = v1::RejectOfferRequest { session, branch, request_id };
            print.call(answer(client.reject_offer(request).await)?.call)
        }
        Calls::Branch { session, branch } => {
            let request = v1::CreateBranchRequest { session, branch, ..Default::default() };
            let response = answer(client.create_branch(request).await)?;
            print.sdp(&response, &response.sdp)
        }
        Calls::Select { session, branch } => {
            let request = v1::SelectBranchRequest { session, branch, request_id };
            print.call(answer(client.select_branch(request).await)?.call)
        }
        Calls::Drop { session, branch } => {
            let request = v1::DropBranchRequest { session, branch, request_id };
            print.deleted("branch", answer(client.drop_branch(request).await)?.existed)
        }
        Calls::Retarget { session, new_branch, branch: Branch { branch } } => {
            let request = v1::RetargetRequest { session, branch, new_branch, ..Default::default() };
            let response = answer(client.retarget(request).await)?;
            print.sdp(&response, &response.sdp)
        }
        Calls::Candidates { session, branch: Branch { branch }, from, mid, line, more } => {
            let Candidates { candidates, end } = more;
            let from = v1::CallSide::from(from).into();
            let request = v1::AddCallCandidatesRequest {
                session,
                branch,
                from,
                mid,
                line,
                candidates,
                end,
                ..Default::default()
            };
            answer(client.add_call_candidates(request).await)?;
            print.done("the candidates are taken")
        }
        Calls::End { session } => {
            let request = v1::EndSessionRequest { session, request_id };
            print.deleted("call", answer(client.end_session(request).await)?.existed)
        }
        Calls::Show { session } => {
            print.call(answer(client.get_call(v1::GetCallRequest { session }).await)?.call)
        }
        Calls::List => {
            let (mut calls, mut page_token) = (Vec::new(), String::new());
            loop {
                let request = v1::ListCallsRequest { page_size: 10_000, page_token };
                let page = answer(client.list_calls(request).await)?;
                calls.extend(page.calls);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    return print.calls(&calls);
                }
            }
        }
    }
}

impl Offer {
    fn request(self) -> Result<v1::ProcessOfferRequest> {
        let policy = self.policy()?;
        Ok(v1::ProcessOfferRequest {
            session: self.session,
            branch: self.branch.branch,
            from: v1::CallSide::from(self.from).into(),
            sdp: read(self.file.as_ref())?.to_string(),
            policy,
            attestation: self.attested.attestation(),
            request_id: self.attested.request_id,
            ..Default::default()
        })
    }

    fn policy(&self) -> Result<Option<v1::SessionPolicy>> {
        let mut policy = match &self.policy {
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                let problem = || format!("{} is no SessionPolicy in JSON", path.display());
                Some(json::parse::<v1::SessionPolicy>(&text).with_context(problem)?)
            }
            None => None,
        };
        if let Some(security) = self.caller_security {
            let own = policy.get_or_insert_default().caller.get_or_insert_default();
            own.security = v1::MediaSecurity::from(security).into();
        }
        if let Some(security) = self.callee_security {
            let own = policy.get_or_insert_default().callee.get_or_insert_default();
            own.security = v1::MediaSecurity::from(security).into();
        }
        Ok(policy)
    }
}

impl Attested {
    fn attestation(&self) -> Option<v1::SignallingAttestation> {
        self.hop_tls.then(|| v1::SignallingAttestation { hop_tls: true, ..Default::default() })
    }
}

impl From<Side> for v1::CallSide {
    fn from(side: Side) -> Self {
        match side {
            Side::Caller => Self::Caller,
            Side::Callee => Self::Callee,
        }
    }
}

impl From<Security> for v1::MediaSecurity {
    fn from(security: Security) -> Self {
        match security {
            Security::Required => Self::Required,
            Security::BestEffort => Self::BestEffort,
            Security::Plain => Self::Plain,
        }
    }
}

impl Printer {
    /// An SDP as it is, for others to send; as JSON with what the call is like.
    fn sdp<M: prost::Message + prost::Name>(self, response: &M, sdp: &str) -> Result<()> {
        if self.json {
            return json::print(response);
        }
        std::io::stdout().lock().write_all(sdp.as_bytes())?;
        Ok(())
    }

    fn call(self, call: Option<v1::Call>) -> Result<()> {
        let call = call.context("the gateway showed no call; is it of another version?")?;
        if self.json {
            return json::print(&call);
        }
        let mut out = std::io::stdout().lock();
        let selected = if call.selected.is_empty() { "none" } else { &call.selected };
        writeln!(
            out,
            "call {}, selected branch {selected}, robustness {}",
            call.session,
            class(call.robustness())
        )?;
        let header =
            ["branch", "state", "media", "side", "leg", "keying", "suite", "direction", "robustness"];
        let mut rows = super::print::table(&header);
        let mut explained = std::collections::BTreeMap::new();
        for branch in &call.branches {
            for media in &branch.media {
                let name = format!("{} {}", media.index, media.media);
                for (side, leg) in [("caller", &media.caller), ("callee", &media.callee)] {
                    let Some(leg) = leg else {
                        let refused = if media.refused.is_empty() { "" } else { "refused" };
                        rows.add_row([branch.id.as_str(), state(branch.state()), &name, side, "-", refused]);
                        continue;
                    };
                    if !leg.explanation.is_empty() {
                        explained.insert(class(leg.robustness()), leg.explanation.clone());
                    }
                    let suite = if leg.suite.is_empty() { "-" } else { &leg.suite };
                    rows.add_row([
                        branch.id.as_str(),
                        state(branch.state()),
                        &name,
                        side,
                        &leg.leg,
                        keying(leg.keying()),
                        suite,
                        direction(leg.direction()),
                        class(leg.robustness()),
                    ]);
                }
            }
        }
        super::print::show(&mut out, &rows)?;
        for (class, explanation) in explained {
            writeln!(out, "\n{class}: {explanation}")?;
        }
        for branch in &call.branches {
            let refused = branch.media.iter().filter(|media| !media.refused.is_empty());
            for media in refused {
                writeln!(out, "\n{} {}: {}", branch.id, media.media, media.refused)?;
            }
        }
        Ok(())
    }

    fn calls(self, calls: &[v1::Call]) -> Result<()> {
        if self.json {
            return calls.iter().try_for_each(json::print);
        }
        let mut rows = super::print::table(&["call", "branches", "selected", "robustness"]);
        for call in calls {
            let branches =
                call.branches.iter().map(|branch| format!("{} {}", branch.id, state(branch.state())));
            let selected = if call.selected.is_empty() { "-" } else { &call.selected };
            rows.add_row([
                call.session.as_str(),
                &branches.collect::<Vec<_>>().join("\n"),
                selected,
                class(call.robustness()),
            ]);
        }
        super::print::finish(&rows, "no calls")
    }
}

/// The SDP, which has keys: it is wiped when it was sent.
fn read(file: Option<&PathBuf>) -> Result<secret::Text> {
    match file {
        Some(path) if path.as_os_str() != "-" => secret::read(path),
        _ => secret::read(std::path::Path::new("-")),
    }
}

/// A call's change, in words.
pub(super) fn changed(event: &v1::CallChanged) -> String {
    let what = match event.change() {
        v1::CallChange::Unspecified => "changed",
        v1::CallChange::BranchCreated => "was made",
        v1::CallChange::Progress => "has a provisional answer",
        v1::CallChange::Answered => "was answered",
        v1::CallChange::Reoffered => "has a new offer",
        v1::CallChange::Rejected => "was refused",
        v1::CallChange::Selected => "was selected",
        v1::CallChange::Dropped => "was dropped",
        v1::CallChange::TimedOut => "timed out",
        v1::CallChange::Ended => "ended",
    };
    let who = if event.branch.is_empty() { "call".to_owned() } else { format!("branch {}", event.branch) };
    let why = if event.reason.is_empty() { String::new() } else { format!(": {}", event.reason) };
    format!("{who} {what}{why}")
}

/// RFC 5479's label of a class.
pub(super) fn class(class: v1::RobustnessClass) -> &'static str {
    match class {
        v1::RobustnessClass::Unspecified => "-",
        v1::RobustnessClass::NoSignalingPassiveMedia => "no-signaling-passive-media",
        v1::RobustnessClass::NoSignalingActiveMedia => "no-signaling-active-media",
        v1::RobustnessClass::PassiveSignalingPassiveMedia => "passive-signaling-passive-media",
        v1::RobustnessClass::PassiveSignalingActiveMedia => "passive-signaling-active-media",
        v1::RobustnessClass::ActiveSignalingPassiveMedia => "active-signaling-passive-media",
        v1::RobustnessClass::ActiveSignalingActiveMedia => "active-signaling-active-media",
        v1::RobustnessClass::ActiveSignalingActiveMediaDetect => "active-signaling-active-media-detect",
    }
}

/// A keying's name.
pub(super) const fn keying(keying: v1::Keying) -> &'static str {
    match keying {
        v1::Keying::Unspecified => "-",
        v1::Keying::None => "none",
        v1::Keying::Sdes => "sdes",
        v1::Keying::DtlsSrtp => "dtls-srtp",
        v1::Keying::Mikey => "mikey",
        v1::Keying::Zrtp => "zrtp",
        v1::Keying::Static => "static",
    }
}

const fn state(state: v1::BranchState) -> &'static str {
    match state {
        v1::BranchState::Unspecified => "-",
        v1::BranchState::Offered => "offered",
        v1::BranchState::Provisional => "provisional",
        v1::BranchState::Answered => "answered",
    }
}

const fn direction(direction: v1::MediaDirection) -> &'static str {
    match direction {
        v1::MediaDirection::Unspecified => "-",
        v1::MediaDirection::Sendrecv => "sendrecv",
        v1::MediaDirection::Sendonly => "sendonly",
        v1::MediaDirection::Recvonly => "recvonly",
        v1::MediaDirection::Inactive => "inactive",
    }
}
