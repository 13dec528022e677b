//! `sluice pcap`: SRTP in capture files.

mod convert;
mod format;
mod keys;
mod link;
mod report;
mod stream;

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sluice_srtp::Suite;

use crate::options::OptionArgs;
use tempfile::NamedTempFile;

use convert::Outcome;
use keys::KeyRing;

/// Done, but the input is damaged: what was readable is in the output.
const DAMAGED: u8 = 3;
const BUFFER: usize = 1 << 20;

/// What `sluice pcap` may be told.
#[derive(clap::Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Decrypt SRTP and SRTCP to RTP and RTCP.
    Unprotect(Files),
    /// Encrypt RTP and RTCP to SRTP and SRTCP.
    Protect(Files),
}

const AFTER_HELP: &str = "\
Captures are pcap or pcapng (IN's form is kept), of Ethernet, Linux cooked, raw IP or loopback frames, \
over IPv4 or IPv6, with or without VLAN tags. What is not media passes as it is. A packet that fails \
authentication is left out, unless no packet of its stream has authenticated: then it may be something else, \
and passes as it is.

Keys are master key and salt in one string, hex or base64; without SSRC= they are tried on every stream. In \
the list of processes others can read --key: better are --key-file, or the environment variable \
SLUICE_PCAP_KEY (several keys separated by commas).

Exit status: 0 done; 1 nothing could be converted and nothing was written; 3 the input is cut off or damaged, \
what was readable was converted.";

/// Files and keys.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
struct Files {
    /// The capture to read; - is standard input.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The capture to write; - is standard output (the summary then goes to standard error).
    #[arg(value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    material: Material,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Keys and what goes with them.
#[derive(clap::Args)]
struct Material {
    /// Master key and salt; may be repeated, and given for one SSRC only.
    #[arg(long, value_name = "[SSRC=]HEX|BASE64")]
    key: Vec<String>,
    /// File with one key a line, as --key; # begins a comment, - is standard input.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Crypto suite of the keys; default: by their length, AES in counter mode or GCM. For 30 bytes unprotect
    /// tries both AES_CM_128_HMAC_SHA1_80 and _32, and protect takes the former.
    #[arg(long)]
    suite: Option<Suite>,
    /// Master key identifier that the packets carry.
    #[arg(long, value_name = "HEX")]
    mki: Option<String>,
    /// Convert only these SSRCs; may be repeated.
    #[arg(long, value_name = "SSRC", value_delimiter = ',', value_parser = keys::ssrc)]
    ssrc: Vec<u32>,
    /// Rollover counter at the capture's start; may be repeated for single SSRCs. Default: 0 to 15 are
    /// tried when decrypting, 0 when encrypting.
    #[arg(long, value_name = "[SSRC=]ROC")]
    roc: Vec<String>,
    /// How many rollover counters after that of --roc, or after 0, a stream's first packet may try when
    /// decrypting, up to 1024. Default: 0 after that of --roc, else 15.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1024))]
    roc_trials: Option<u32>,
    /// Packets that the replay list remembers, 64 to 32768.
    #[arg(long, value_name = "PACKETS", default_value_t = 1024)]
    replay_window: u32,
    #[command(flatten)]
    options: OptionArgs,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Unprotect,
    Protect,
}

/// Converts a capture.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.command {
        Command::Unprotect(files) => run(files, Direction::Unprotect),
        Command::Protect(files) => run(files, Direction::Protect),
    }
}

fn run(files: &Files, direction: Direction) -> Result<ExitCode> {
    let is_stdin = |path: &Path| path.as_os_str() == "-";
    if is_stdin(&files.input) && files.material.key_file.as_deref().is_some_and(is_stdin) {
        bail!("standard input cannot be both the capture and the key: give --key-file a file");
    }
    let keys = KeyRing::new(&files.material, direction)?;
    let input = Input::open(&files.input)?;
    let mut output = Output::create(&files.output, &files.input)?;
    let bar = progress(input.size);
    let outcome = convert::convert(input.source, &mut output, &keys, direction, |at| bar.set_position(at));
    bar.finish_and_clear();
    let outcome = outcome.with_context(|| files.input.display().to_string())?;
    let failed = outcome.converted() == 0;
    let written = if failed { None } else { Some(output.keep()?) };
    let summary = report::Summary::new(files, direction, &outcome, written.as_deref());
    summary.print(files.json, files.output.as_os_str() == "-")?;
    Ok(match (failed, outcome.damage) {
        (true, _) => ExitCode::FAILURE,
        (false, Some(_)) => ExitCode::from(DAMAGED),
        (false, None) => ExitCode::SUCCESS,
    })
}

impl Outcome {
    fn converted(&self) -> u64 {
        self.streams.iter().map(|stream| stream.tally.done).sum()
    }
}

struct Input {
    source: Box<dyn Read>,
    size: Option<u64>,
}

impl Input {
    fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self { source: Box::new(io::stdin().lock()), size: None });
        }
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            bail!("{} is a directory", path.display());
        }
        let size = metadata.is_file().then_some(metadata.len());
        Ok(Self { source: Box::new(BufReader::with_capacity(BUFFER, file)), size })
    }
}

/// The output: a temporary file that gets its name when all is well, so that nothing half-made is left.
enum Output {
    File { writer: BufWriter<NamedTempFile>, path: PathBuf },
    Stream(BufWriter<Box<dyn Write>>),
}

impl Output {
    fn create(path: &Path, input: &Path) -> Result<Self> {
        let failed = || format!("cannot create {}", path.display());
        if path.as_os_str() == "-" {
            if io::stdout().is_terminal() {
                bail!("standard output is a terminal: a capture there would only garble it");
            }
            return Ok(Self::Stream(BufWriter::new(Box::new(io::stdout()))));
        }
        if same_file(path, input) {
            bail!("{} is the input as well: choose another name for the output", path.display());
        }
        // A pipe or device is written to as it is.
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let file = OpenOptions::new().write(true).open(path).with_context(failed)?;
            return Ok(Self::Stream(BufWriter::new(Box::new(file))));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let file = NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).with_context(failed)?;
        let writer = BufWriter::with_capacity(BUFFER, file);
        Ok(Self::File { writer, path: path.to_owned() })
    }

    /// Gives the file its name; says where the packets went.
    fn keep(self) -> Result<String> {
        match self {
            Self::File { writer, path } => {
                let failed = || format!("cannot write {}", path.display());
                let file =
                    writer.into_inner().map_err(io::IntoInnerError::into_error).with_context(failed)?;
                file.persist(&path).with_context(failed)?;
                Ok(path.display().to_string())
            }
            Self::Stream(mut writer) => {
                writer.flush().context("cannot write the capture")?;
                Ok("standard output".to_owned())
            }
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { writer, .. } => writer.write(bytes),
            Self::Stream(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { writer, .. } => writer.flush(),
            Self::Stream(writer) => writer.flush(),
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// A bar on standard error, if that is a terminal.
fn progress(size: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = match size {
        Some(size) => ProgressBar::new(size),
        None => ProgressBar::new_spinner(),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let style = "{bar:40} {percent:>3} %  {bytes} of {total_bytes}  {eta} left";
    if size.is_some()
        && let Ok(style) = ProgressStyle::with_template(style)
    {
        bar.set_style(style);
    }
    bar
}
