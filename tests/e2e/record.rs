//! `[record]` and `slipwire replay`: what real programs did through the tunnel says the same once
//! more, a tape that is torn or changed does not pass, and a full disk is the tape's trouble alone.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use slipwire_fuzz_targets::reseal;
use slipwire_lab::{
    deadline::eventually,
    lab::Lab,
    row::Family,
    slipwire,
    tunnel::{Job, Plan, Tunnel},
    udp::Echo,
};

use crate::{
    common::{PORT, is_answered, move_more_than_a_small_disk_holds, small_disk},
    programs,
    runner::Test,
};

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("record::what_programs_did_replays_without_a_difference", replays)
            .with_tools(&["curl", "iperf3", "ping"]),
        Test::new("record::a_tape_is_there_after_a_kill", survives),
        Test::new("record::a_full_disk_stops_nothing_else", full_disk),
    ]
}

fn gateway(lab: &Lab, file: &Path) -> Result<Tunnel> {
    let tables = format!("[record]\nfile = {file:?}\nsize = \"4GiB\"\nsegments = 1\n");
    Tunnel::start(lab, Plan { tables, ..Plan::new(Job::Gateway) })
}

/// Replays a tape: exit code, standard output, standard error.
fn replay(tape: &Path, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let mut command = Command::new(slipwire::binary()?);
    let Output { status, stdout, stderr } =
        command.arg("replay").arg(tape).args(arguments).output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok((status.code(), text(&stdout), text(&stderr)))
}

fn replays(lab: &Lab) -> Result<()> {
    let directory = lab.directory("record")?;
    fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
    let file = directory.join("a.tape");
    let mut tunnel = gateway(lab, &file)?;
    let mode = fs::metadata(&file)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "mode {mode:o}");
    {
        let echo = Echo::start(&tunnel.row.far, PORT)?;
        for family in Family::BOTH {
            let target = tunnel.target(family, PORT);
            is_answered(&tunnel.row.near, target)?;
            let mut ping = Command::new("ping");
            ping.args(["-n", "-c", "2", "-i", "0.2", "-W", "5", &target.ip().to_string()]);
            tunnel.row.near.output(LIMIT, &mut ping)?;
        }
        drop(echo);
    }
    programs::fetch_page(&tunnel)?;
    for direction in [&[][..], &["--reverse"]] {
        programs::measure(&tunnel, &[direction, &["--bitrate", "200M"]].concat())?;
    }
    for slipwire in tunnel.slipwires() {
        ensure!(slipwire.terminate(LIMIT)?.success(), "no end in order");
    }

    let pcap = directory.join("out.pcap");
    let (code, output, errors) =
        replay(&file, &["--pcap", &pcap.to_string_lossy(), "--flow", "0.1"])?;
    ensure!(code == Some(0), "{code:?}: {errors}");
    ensure!(output.contains("the same to the end"), "{output}");
    ensure!(output.contains("flow 0.1: a datagram"), "the flow was not followed: {output}");
    ensure!(fs::metadata(&pcap)?.len() > 1 << 20, "nothing in the capture");
    let (code, output, _) = replay(&file, &["--until", "10"])?;
    ensure!(code == Some(0) && output.starts_with("10 inputs"), "{code:?}: {output}");

    // The first byte of the seed, behind the preamble, a frame's head and the program's version.
    let mut tape = fs::read(&file)?;
    let seed = 24 + 1 + usize::from(tape[24]);
    tape[seed] ^= 1;
    reseal(&mut tape);
    let other = directory.join("other.tape");
    fs::write(&other, &tape)?;
    let (code, _, errors) = replay(&other, &[])?;
    ensure!(code == Some(1), "one bit makes no difference: {code:?}");
    for word in ["input ", "recorded: ", "replayed: "] {
        ensure!(errors.contains(word), "no {word:?} in {errors}");
    }

    let half = tape.len() / 2;
    let mut torn = fs::read(&file)?;
    torn.truncate(half);
    fs::write(&other, &torn)?;
    let (code, output, _) = replay(&other, &[])?;
    ensure!(code == Some(0) && output.contains("torn"), "{code:?}: {output}");
    Ok(())
}

fn survives(lab: &Lab) -> Result<()> {
    let directory = lab.directory("record")?;
    fs::set_permissions(&directory, Permissions::from_mode(0o777))?;
    let file = directory.join("a.tape");
    let mut tunnel = gateway(lab, &file)?;
    let _echo = Echo::start(&tunnel.row.far, PORT)?;
    let target = tunnel.target(Family::V4, PORT);
    is_answered(&tunnel.row.near, target)?;
    // What is new waits for a second at most.
    eventually("the datagrams on the tape", LIMIT, || {
        let tape = fs::read(&file)?;
        let question = b"is anybody there?";
        ensure!(tape.windows(question.len()).any(|window| window == question), "not yet");
        Ok(())
    })?;
    let Some(slipwire) = tunnel.slipwires().next() else { bail!("no slipwire") };
    slipwire.kill();
    let (code, output, errors) = replay(&file, &[])?;
    ensure!(code == Some(0), "{code:?}: {errors}");
    ensure!(output.contains("the same"), "{output}");
    Ok(())
}

fn full_disk(lab: &Lab) -> Result<()> {
    let disk = small_disk(lab)?;
    let file = disk.join("a.tape");
    let mut tunnel = gateway(lab, &file)?;
    move_more_than_a_small_disk_holds(&tunnel)?;
    let Some(slipwire) = tunnel.slipwires().next() else { bail!("no slipwire") };
    let log = slipwire.whole_log(LIMIT)?.tail(100);
    let lines: Vec<_> = log.iter().filter(|line| line.contains("tape: ")).collect();
    ensure!(lines.len() == 1, "one line: {lines:#?}");
    ensure!(lines[0].contains("No space left on device"), "{lines:#?}");
    let (code, output, errors) = replay(&file, &[])?;
    ensure!(code == Some(0), "{code:?}: {errors}");
    ensure!(output.contains("the same to the end"), "what is there is whole: {output}");
    Ok(())
}
