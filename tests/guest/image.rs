//! What a guest boots: Debian's cloud kernel, and an initrd of a shell, a few tools, the daemon and this program.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use sluice_tests::site::executable;
use tempfile::TempDir;

/// In the order in which they need each other; those that are part of the kernel are no files.
const MODULES: [&str; 9] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "failover",
    "net_failover",
    "virtio_net",
    "veth",
];
const TOOLS: [&str; 3] = ["ip", "setpriv", "nsenter"];
const NEEDED: [&str; 5] = ["qemu-system-x86_64", "busybox", "cpio", "strip", "dpkg"];
/// Where this program is in the guest.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin SLUICE_BIN=/usr/bin/sluice
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
echo 2000000 > /proc/sys/fs/nr_open
ulimit -n 1048576
for module in $(cat /modules/order); do insmod /modules/$module; done
ip link set lo up
test=$(sed 's/.*sluice_test=\([^ ]*\).*/\1/' /proc/cmdline)
/usr/bin/agent "$test" --exact --ignored --nocapture --test-threads 1 2>&1
echo "GUEST ENDED: $?"
sync
reboot -f
"#;

/// A kernel and an initrd.
pub(crate) struct Image {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    _folder: TempDir,
}

impl Image {
    /// `None`, with a loud reason, where something is missing.
    pub(crate) fn build(test: &str) -> Result<Option<Self>> {
        let skip = |reason: &str| {
            eprintln!("SKIP: the guest of {test}: {reason}");
            Ok(None)
        };
        if !cfg!(target_arch = "x86_64") {
            return skip("guests are x86-64 only");
        }
        if let Some(missing) = NEEDED.iter().chain(&TOOLS).find(|tool| which(tool).is_none()) {
            return skip(&format!("{missing} is missing: ./justw test installs it"));
        }
        let Some(unpacked) = kernel()? else {
            return skip("no linux-image-cloud-amd64 from this machine's package source");
        };
        let boot = fs::read_dir(unpacked.join("boot"))?.flatten().map(|entry| entry.path());
        let kernel = boot
            .into_iter()
            .find(|path| path.to_string_lossy().contains("vmlinuz"))
            .context("the package has no kernel")?;
        let folder = tempfile::tempdir()?;
        let initrd = initrd(folder.path(), &unpacked)?;
        Ok(Some(Self { kernel, initrd, _folder: folder }))
    }
}

/// The unpacked package of the kernel, fetched once and kept in the target directory.
fn kernel() -> Result<Option<PathBuf>> {
    let home = target()?.join("guest");
    fs::create_dir_all(&home)?;
    let unpacked = home.join("kernel");
    // Tests run beside each other.
    let lock = File::create(home.join("lock"))?;
    lock.lock()?;
    if unpacked.join("complete").exists() {
        return Ok(Some(unpacked));
    }
    // The package itself is empty and depends on the newest one.
    let depends = Command::new("apt-cache").args(["depends", "linux-image-cloud-amd64"]).output();
    let Ok(depends) = depends else { return Ok(None) };
    let text = String::from_utf8_lossy(&depends.stdout).into_owned();
    let Some(package) = text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")) else {
        return Ok(None);
    };
    let download = TempDir::new_in(&home)?;
    let fetched = Command::new("apt-get")
        .args(["-qq", "-o", "APT::Sandbox::User=root", "download", package])
        .current_dir(download.path())
        .stderr(Stdio::null())
        .status();
    let deb = fs::read_dir(download.path())?.flatten().map(|entry| entry.path()).next();
    let (Ok(true), Some(deb)) = (fetched.map(|status| status.success()), deb) else { return Ok(None) };
    let _ = fs::remove_dir_all(&unpacked);
    run(Command::new("dpkg").arg("-x").arg(deb).arg(&unpacked))?;
    File::create(unpacked.join("complete"))?;
    Ok(Some(unpacked))
}

/// The folder that Cargo builds in: target/debug/deps/test-hash is this program.
fn target() -> Result<PathBuf> {
    let program = env::current_exe()?;
    Ok(program.ancestors().nth(3).context("this program is not in a target directory")?.to_owned())
}

fn initrd(folder: &Path, unpacked: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    for name in ["bin", "dev", "proc", "sys", "tmp", "run", "modules", "usr/bin", "usr/sbin", "etc"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy(which("busybox").context("busybox")?, root.join("bin/busybox"))?;
    write_executable(&root.join("init"), INIT)?;
    for tool in TOOLS {
        let found = which(tool).with_context(|| tool.to_owned())?;
        install(&root, &found, &format!("usr/bin/{tool}"), false)?;
    }
    install(&root, executable()?, "usr/bin/sluice", true)?;
    install(&root, &env::current_exe()?, "usr/bin/agent", true)?;
    modules(&root, unpacked)?;
    let initrd = folder.join("initrd");
    let archive = "find . | cpio --quiet --create --format=newc > ../initrd";
    run(Command::new("sh").args(["-c", archive]).current_dir(&root))?;
    Ok(initrd)
}

/// Copies a program and the shared libraries that it needs to where it looks for them.
fn install(root: &Path, program: &Path, to: &str, strip: bool) -> Result<()> {
    let to = root.join(to);
    if strip {
        run(Command::new("strip").arg("-o").arg(&to).arg(program))?;
    } else {
        fs::copy(program, &to)?;
    }
    let output = Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for path in text.split_whitespace().filter(|word| word.starts_with('/')) {
        let there = root.join(path.trim_start_matches('/'));
        if !there.exists() {
            fs::create_dir_all(there.parent().context("a library in no folder")?)?;
            fs::copy(path, there).with_context(|| format!("cannot copy {path}"))?;
        }
    }
    Ok(())
}

fn modules(root: &Path, unpacked: &Path) -> Result<()> {
    let files = find(&unpacked.join("lib/modules"))?;
    let mut order = String::new();
    for module in MODULES {
        let plain = format!("{module}.ko");
        let is_it = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().replace('-', "_");
            name == plain || name == format!("{plain}.xz")
        };
        let Some(found) = files.iter().find(is_it) else { continue };
        let to = root.join("modules").join(&plain);
        if found.extension().is_some_and(|extension| extension == "xz") {
            let unpacked = Command::new("xz").arg("-dc").arg(found).output()?;
            ensure!(unpacked.status.success(), "xz cannot unpack {}", found.display());
            fs::write(to, unpacked.stdout)?;
        } else {
            fs::copy(found, to)?;
        }
        order.push_str(&plain);
        order.push('\n');
    }
    ensure!(order.contains("veth"), "the kernel's package has no veth module");
    fs::write(root.join("modules/order"), order)?;
    Ok(())
}

fn find(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            found.extend(find(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn write_executable(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found = |folder: PathBuf| Some(folder.join(program)).filter(|path| path.is_file());
    env::split_paths(&path).chain(more).find_map(found)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
