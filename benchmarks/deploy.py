"""How long a deploy takes, side by side with plain scp of the same files plus the runtime's own load of the artifact.

    python benchmarks/deploy.py                    # a bundle of 1 MB, over a real sshd on the loopback address
    python benchmarks/deploy.py --rounds 20

scp       OpenSSH's scp of the version's files, a connection of its own, and after it one process there that imports the
          runtime, loads the artifact and answers one input: what a user would do by hand, without any check.
deploy    `edgewright deploy`, from the start of its process to its end: connection, lease, what is there, the copy with
          SHA-256, the golden inputs there and here, the switch.

Both run in turn, in fresh processes: the median ratio of neighbours is printed with its range, and deploy's steps.
The sshd needs no root; its host key and the user's key are made for the run.
"""

import argparse
import getpass
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LIMIT = 2.0
_SSHD = shutil.which("sshd", path=os.defpath + ":/usr/sbin:/usr/local/sbin")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="of both, in turn")
    options = parser.parse_args()
    if _SSHD is None:
        sys.exit("expected an sshd to log in to, got none: apt-get install openssh-server")
    with tempfile.TemporaryDirectory(prefix="edgewright-deploy-") as temporary:
        folder = Path(temporary)
        # Compiled modules are kept, as they are where edgewright is installed: two rounds that do not count make them.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ |= {"HOME": str(folder / "home"), "EDGEWRIGHT_CONFIG": str(folder / "config")}
        (folder / "home" / ".ssh").mkdir(parents=True)
        bundles = [_bundle(folder / f"bundle{seed}", seed) for seed in (0, 1)]
        server, port = _server(folder)
        try:
            _register(folder, port)
            _compare(folder, bundles, port, options.rounds)
        finally:
            server.terminate()
            server.wait(timeout=10)


def _bundle(path: Path, seed: int) -> Path:
    """Make a bundle with one TFLite file of 1 MB: two dense layers in float32."""
    import keras

    import edgewright

    keras.utils.set_random_seed(seed)
    x = keras.Input((500,), name="x")
    y = keras.layers.Dense(10, name="y")(keras.layers.Dense(512, activation="relu")(x))
    compressed = edgewright.compress(keras.Model(x, y, name="dense"), None, "float32")
    return edgewright.export(compressed, path, ["tflite"]).path


def _server(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    for name in ("host_key", "home/.ssh/id_ed25519"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    (folder / "there").mkdir()
    (folder / "config_sshd").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/home/.ssh/id_ed25519.pub\nSetEnv HOME={folder}/there\n"
        "Subsystem sftp internal-sftp\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = subprocess.Popen([_SSHD or "", "-D", "-f", folder / "config_sshd"], stderr=subprocess.DEVNULL)
    while server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server, port
        except OSError:
            time.sleep(0.05)
    sys.exit("sshd did not start")


def _register(folder: Path, port: int) -> None:
    key = " ".join((folder / "host_key.pub").read_text().split()[:2])
    (folder / "home/.ssh/known_hosts").write_text(f"[127.0.0.1]:{port} {key}\n")
    profile = folder / "this-host.toml"
    _edgewright("devices", "probe", "--no-measure", "--out", profile)
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
    _edgewright("devices", "add", "board", url, "--profile", profile, "--python", sys.executable)


def _edgewright(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "edgewright", *map(str, arguments), "--json"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _compare(folder: Path, bundles: list[Path], port: int, rounds: int) -> None:
    from edgewright.deploying import _files
    from edgewright.export import load_bundle

    files = []
    for bundle in map(load_bundle, bundles):
        (deployable,) = bundle.deployables
        files.append(list(_files(bundle, deployable).values()))
        inputs, _ = bundle.golden()
        np.savez(folder / "there" / "one.npz", **{name: array[:1] for name, array in inputs.items()})
    sizes = [sum(path.stat().st_size for path in each) for each in files]
    scp: list[float] = []
    deploy: list[float] = []
    steps: dict[str, list[float]] = {}
    for turn in range(-2, rounds):
        # Two versions alternate, so that each deploy copies and switches.
        which = turn % 2
        for kind in ("scp", "deploy") if which else ("deploy", "scp"):
            begun = time.perf_counter()
            if kind == "scp":
                _by_hand(folder, files[which], port)
                scp += [time.perf_counter() - begun] if turn >= 0 else []
                continue
            told = json.loads(_edgewright("deploy", bundles[which], "board", "--quiet"))["result"]
            taken_s = time.perf_counter() - begun
            assert told["size_bytes"] == sizes[which] and told["bit_exact"], told
            if turn < 0:
                continue
            deploy.append(taken_s)
            for name, seconds in told["seconds"].items():
                steps.setdefault(name, []).append(seconds)
    ratios = sorted(two / one for one, two in zip(scp, deploy, strict=True))
    ratio = statistics.median(ratios)
    load = os.getloadavg()[0]
    print(f"{sizes[0] / 1e6:.2f} MB over SSH on the loopback address, {rounds} rounds in turn; load {load:.1f}")
    print(f"  scp and the runtime's load   {statistics.median(scp):.2f} s ({min(scp):.2f} to {max(scp):.2f})")
    print(f"  edgewright deploy            {statistics.median(deploy):.2f} s ({min(deploy):.2f} to {max(deploy):.2f})")
    print(f"  ratio                        {ratio:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}); asked: at most {LIMIT:g}")
    inside = ", ".join(f"{name} {statistics.median(taken):.2f}" for name, taken in steps.items())
    start = statistics.median(deploy) - sum(statistics.median(taken) for taken in steps.values())
    print(f"  of it, in seconds: {inside}; Python's start and imports, while the device is reached, {start:.2f}")


def _by_hand(folder: Path, files: list[Path], port: int) -> None:
    target = f"{getpass.getuser()}@127.0.0.1"
    options = ["-q", "-i", folder / "home/.ssh/id_ed25519", "-o", f"UserKnownHostsFile={folder}/home/.ssh/known_hosts"]
    subprocess.run(["scp", *options, "-P", str(port), *files, f"{target}:{folder}/there/"], check=True)
    artifact = next(path.name for path in files if path.suffix == ".tflite")
    command = [sys.executable, "_runner.py", "--runtime", "litert", "--artifact", artifact]
    command += ["--inputs", "one.npz", "--outputs", "out.npz"]
    subprocess.run(command, cwd=folder / "there", check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
