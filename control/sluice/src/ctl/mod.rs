//! `sluice ctl`: the API from the command line.

mod args;
mod call;
mod client;
mod json;
mod leg;
mod print;
mod route;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use args::Arguments;

/// Makes one call and prints the answer.
pub(crate) fn execute(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = client::connect(&arguments.target).await?;
        call::call(&mut client, arguments.command, print::Printer { json: arguments.json }).await
    })
}
