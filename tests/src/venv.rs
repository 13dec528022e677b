//! Python environments of peers and examples that come from the Python package index.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The Python of an environment with these requirements, as pip reads them: made once, in `directory`.
/// `None`, loudly, where the packages cannot be had.
pub fn python(directory: &str, name: &str, requirements: &str) -> Result<Option<PathBuf>> {
    let home = Path::new(directory).join(name);
    let (done, wanted, python) = (home.join("done"), home.join("requirements.txt"), home.join("bin/python"));
    if fs::read_to_string(&done).is_ok_and(|made| made == requirements) {
        return Ok(Some(python));
    }
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    fs::create_dir_all(&home)?;
    fs::write(&wanted, requirements)?;
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&home)).and_then(|()| {
        let mut pip = Command::new(&python);
        // Wheels only: to build some from source takes many minutes.
        run(pip.args(["-m", "pip", "install", "--quiet", "--only-binary", ":all:", "-r"]).arg(&wanted))
    });
    if let Err(error) = made {
        eprintln!("SKIP: no Python packages for {name}: {error:#}");
        return Ok(None);
    }
    fs::write(done, requirements)?;
    Ok(Some(python))
}

/// Runs a program; fails with what it wrote unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}", words.trim());
    Ok(())
}
