//! `sluice ctl`: the API from the command line.

mod args;
mod call;
mod calls;
mod client;
mod json;
mod leg;
mod media_path;
mod print;
mod route;
mod tap;

use std::process::ExitCode;

use anyhow::Result;
use sluice_proto::v1::recording_client::RecordingClient;

pub(crate) use args::Arguments;

/// Makes one call and prints the answer.
pub(crate) fn execute(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let print = print::Printer { json: arguments.json };
        match arguments.command {
            args::Command::Calls(command) => {
                calls::call(client::channel(&arguments.target).await?, command, print).await?;
                Ok(ExitCode::SUCCESS)
            }
            args::Command::Taps(command) => {
                let mut client = RecordingClient::new(client::channel(&arguments.target).await?);
                tap::call(&mut client, command, print).await?;
                Ok(ExitCode::SUCCESS)
            }
            command => call::call(&mut client::connect(&arguments.target).await?, command, print).await,
        }
    })
}
