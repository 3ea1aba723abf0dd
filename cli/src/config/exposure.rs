//! Who else may read a file that holds a secret, or change it.
//!
//! Its owner may, and has to be root or us unless we are root; a group that we are in may read it,
//! as Kubernetes' `fsGroup` and group-owned key files have it; a user who is us or root may by an
//! access control list, as systemd's credentials have it. Others never may, unless the
//! configuration says that the secret is shared with all who get that far: swarm and Kubernetes
//! mount secrets with a mode of 0444 or 0644. Nobody but the owner ever may change it.
//!
//! Root may read everybody's files, and has them named in a configuration of its own: a key that a
//! user has brought into a container, or that of a service whose user it is, when root runs
//! `slipwire check`. An owner who is neither root nor us is refused otherwise: they can put another
//! secret there at any time.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, StatVfsMountFlags, fgetxattr, fstat, fstatvfs};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid, getgroups};
use toml::de::DeValue;

use super::fault::Problem;
use super::section::Value;
use super::value::one_of;

/// Who may know secrets: `interface.secrets`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Secrets {
    /// Nobody but us, root, and groups that we are in.
    #[default]
    Private,
    /// Whoever gets at the files.
    Shared,
}

impl Value for Secrets {
    fn read(value: &DeValue<'_>) -> Result<Self, Problem> {
        one_of(value, &[("private", Self::Private), ("shared", Self::Shared)])
    }
}

/// Bits of a permission.
const READ: u16 = 4;
const WRITE: u16 = 2;

/// Where the kernel shows an access control list (acl(5)), and the longest that it has for anybody:
/// XATTR_SIZE_MAX of linux/limits.h.
const ACL: &str = "system.posix_acl_access";
const ACL_LEN_MAX: usize = 64 << 10;

/// Who is meant by an entry of an access control list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    User(u32),
    Group(u32),
    Others,
}

/// What a file lets whom do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Exposure {
    mode: u32,
    owner: u32,
    /// Whom but the owner, and what.
    entries: Vec<(Who, u16)>,
    has_acl: bool,
    is_read_only: bool,
}

/// Who we are.
struct Us {
    user: u32,
    groups: Vec<u32>,
}

impl Us {
    const fn is_or_root(&self, user: u32) -> bool {
        user == 0 || user == self.user
    }
}

impl Exposure {
    /// That of a file which nobody else gets at.
    pub(super) const NONE: Self =
        Self { mode: 0o600, owner: 0, entries: Vec::new(), has_acl: false, is_read_only: false };

    /// That of an open file. Nobody else reads a terminal or a pipe, whatever their bits say.
    pub(super) fn of(file: impl AsFd) -> io::Result<Self> {
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Self::NONE);
        }
        let mut acl = vec![0; ACL_LEN_MAX];
        let entries = match fgetxattr(&file, ACL, &mut acl[..]) {
            Ok(len) => Some(read_acl(&acl[..len], stat.st_gid)),
            // There is none, or there can't be any.
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => None,
            Err(error) => return Err(error.into()),
        };
        let has_acl = entries.is_some();
        let by_mode = || {
            let bits = |shift: u32| (stat.st_mode >> shift & 7) as u16;
            vec![(Who::Others, bits(0)), (Who::Group(stat.st_gid), bits(3))]
        };
        // Of no use for the judgement, just for the advice.
        let is_read_only =
            fstatvfs(&file).is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::RDONLY));
        Ok(Self {
            mode: stat.st_mode & 0o7777,
            owner: stat.st_uid,
            entries: entries.unwrap_or_else(by_mode),
            has_acl,
            is_read_only,
        })
    }

    /// What is wrong with that of a secret at `path`.
    pub(super) fn judge(&self, path: &Path, secrets: Secrets) -> Option<Problem> {
        let mut groups = getgroups().unwrap_or_default();
        groups.push(getegid());
        let groups = groups.into_iter().map(|group| group.as_raw()).collect();
        self.judge_for(&Us { user: geteuid().as_raw(), groups }, path, secrets)
    }

    fn judge_for(&self, us: &Us, path: &Path, secrets: Secrets) -> Option<Problem> {
        let mode = self.mode;
        let problem = |what: String| {
            let what = format!("{} holds a secret and {what} (mode {mode:04o})", path.display());
            Some(Problem::new(what, self.mend(us, path)))
        };
        let is_strangers = us.user != 0 && !us.is_or_root(self.owner);
        if secrets == Secrets::Private && is_strangers {
            return problem(format!("belongs to user {}", self.owner));
        }
        let (whom, may) = self.entries.iter().find(|(who, may)| match who {
            Who::User(user) => !us.is_or_root(*user) && *may != 0,
            Who::Group(group) => {
                let is_fine = us.groups.contains(group) || secrets == Secrets::Shared;
                may & (if is_fine { WRITE } else { READ | WRITE }) != 0
            }
            Who::Others => may & !(if secrets == Secrets::Shared { READ } else { 0 }) != 0,
        })?;
        let whom = match whom {
            Who::User(user) => format!("user {user}"),
            Who::Group(group) => format!("group {group}"),
            Who::Others => "others".to_owned(),
        };
        let verb = if may & WRITE != 0 { "can be changed by" } else { "is open to" };
        problem(format!("{verb} {whom}"))
    }

    fn mend(&self, us: &Us, path: &Path) -> String {
        let (shown, user) = (path.display(), us.user);
        if self.is_read_only {
            return "it can't be changed on a read-only mount: have it mounted with mode 0400 and our \
                    user, or 0440 and a group of ours (Kubernetes: defaultMode and fsGroup; swarm: \
                    mode, uid and gid), or, if all who get there may know it, set secrets = \
                    \"shared\" below [interface]"
                .to_owned();
        }
        let strip = if self.has_acl { format!("setfacl -b {shown} && ") } else { String::new() };
        let chmod = format!("{strip}chmod 600 {shown}");
        if self.owner == user || user == 0 {
            format!("run `{chmod}`")
        } else {
            format!("have root run `chown {user} {shown} && {chmod}`")
        }
    }
}

/// The entries of an access control list as the kernel hands it out (`linux/posix_acl_xattr.h`): a
/// version, then a tag, permissions and an id each. The mask bounds all of them but the owner's and
/// others'.
fn read_acl(bytes: &[u8], group: u32) -> Vec<(Who, u16)> {
    const MASK: u16 = 0x10;
    let entries: Vec<_> = bytes
        .get(4..)
        .unwrap_or_default()
        .as_chunks::<8>()
        .0
        .iter()
        .map(|[t0, t1, p0, p1, id @ ..]| {
            (
                u16::from_le_bytes([*t0, *t1]),
                u16::from_le_bytes([*p0, *p1]),
                u32::from_le_bytes(*id),
            )
        })
        .collect();
    let mask = entries.iter().find(|(tag, ..)| *tag == MASK).map_or(7, |(_, may, _)| *may);
    let mut entries: Vec<_> = entries
        .into_iter()
        .filter_map(|(tag, may, id)| match tag {
            // ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_OTHER.
            0x02 => Some((Who::User(id), may & mask)),
            0x04 => Some((Who::Group(group), may & mask)),
            0x08 => Some((Who::Group(id), may & mask)),
            0x20 => Some((Who::Others, may)),
            _ => None,
        })
        .collect();
    // Others are named before groups, as they are without a list.
    entries.reverse();
    entries
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use rustix::fs::{XattrFlags, fsetxattr};

    use super::*;

    const US: u32 = 1000;
    const OURS: u32 = 100;

    fn exposure(mode: u32, owner: u32, group: u32) -> Exposure {
        let bits = |shift: u32| (mode >> shift & 7) as u16;
        let entries = vec![(Who::Others, bits(0)), (Who::Group(group), bits(3))];
        Exposure { mode, owner, entries, ..Exposure::NONE }
    }

    fn judge(exposure: &Exposure, secrets: Secrets) -> Option<Problem> {
        let us = Us { user: US, groups: vec![OURS] };
        exposure.judge_for(&us, Path::new("a.key"), secrets)
    }

    #[test]
    fn who_may_read_a_secret() {
        for (mode, owner, group, private, shared) in [
            (0o600, US, OURS, true, true),
            (0o400, 0, 0, true, true),
            // fsGroup, and a file that a group of ours has.
            (0o440, 0, OURS, true, true),
            (0o640, US, OURS, true, true),
            // Whoever owns it can change it, and let anybody else in.
            (0o440, 7, OURS, false, true),
            (0o600, 7, OURS, false, true),
            (0o000, 7, 7, false, true),
            (0o440, 0, 7, false, true),
            (0o444, 0, OURS, false, true),
            (0o644, US, OURS, false, true),
            (0o604, US, OURS, false, true),
            // Nobody else may change it.
            (0o660, US, OURS, false, false),
            (0o620, US, OURS, false, false),
            (0o602, US, OURS, false, false),
            (0o666, 0, OURS, false, false),
        ] {
            let exposure = exposure(mode, owner, group);
            let is_fine = |secrets| judge(&exposure, secrets).is_none();
            let found = (is_fine(Secrets::Private), is_fine(Secrets::Shared));
            assert_eq!(found, (private, shared), "{mode:o} of {owner}:{group}");
        }
    }

    #[test]
    fn root_uses_a_secret_that_a_user_keeps_for_himself() {
        let root = Us { user: 0, groups: vec![0] };
        let judge =
            |mode| exposure(mode, 7, 7).judge_for(&root, Path::new("a.key"), Secrets::Private);
        assert!(judge(0o600).is_none());
        let Problem { what, mend } = judge(0o644).unwrap();
        assert_eq!(what, "a.key holds a secret and is open to others (mode 0644)");
        assert_eq!(mend, "run `chmod 600 a.key`");
    }

    #[test]
    fn the_mend_is_one_that_can_be_done() {
        let mend = |exposure: &Exposure| judge(exposure, Secrets::Private).unwrap().mend;
        assert_eq!(mend(&exposure(0o644, US, OURS)), "run `chmod 600 a.key`");
        let roots = exposure(0o644, 0, 0);
        assert_eq!(mend(&roots), "have root run `chown 1000 a.key && chmod 600 a.key`");
        let mounted = Exposure { is_read_only: true, ..exposure(0o444, 0, 0) };
        let mend = mend(&mounted);
        assert!(!mend.contains("chmod") && mend.contains("secrets = \"shared\""), "{mend}");
    }

    /// An access control list in the kernel's form.
    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2_u32.to_le_bytes().to_vec();
        for (tag, may, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(may.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    /// As systemd makes them for a service with a user of its own: 0440 of root, and a list.
    #[test]
    fn credentials_of_systemd_are_read_by_their_list() {
        const NOBODY: u32 = u32::MAX;
        let list = |user, group_may, mask| {
            acl(&[
                (0x01, READ, NOBODY),
                (0x02, READ, user),
                (0x04, group_may, NOBODY),
                (0x10, mask, NOBODY),
                (0x20, 0, NOBODY),
            ])
        };
        for (user, group_may, mask, is_fine) in [
            (US, 0, READ, true),
            (7, 0, READ, false),
            (7, 0, 0, true),
            (US, READ, READ, false),
            (US, READ, 0, true),
            (US, WRITE, READ | WRITE, false),
        ] {
            let entries = read_acl(&list(user, group_may, mask), 0);
            let exposure = Exposure { mode: 0o440, owner: 0, entries, ..Exposure::NONE };
            let problem = judge(&exposure, Secrets::Private);
            assert_eq!(problem.is_none(), is_fine, "{user} {group_may} {mask}");
            let of_another = Exposure { owner: 7, ..exposure };
            assert!(judge(&of_another, Secrets::Private).is_some(), "{user} {group_may} {mask}");
        }
    }

    /// A list in which a user is named behind a hundred others, longer than a page.
    #[test]
    fn nobody_hides_in_a_long_list() {
        // The file system in memory has room for one; others have less, or no lists at all.
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
        let path = directory.path().join("a.key");
        fs::write(&path, "secret").unwrap();
        let file = File::open(&path).unwrap();
        let users = (20_000..21_000).map(|user| (0x02, READ, user));
        let mut entries = vec![(0x01, READ | WRITE, u32::MAX)];
        entries.extend(users);
        entries.extend([(0x04, 0, u32::MAX), (0x10, READ, u32::MAX), (0x20, 0, u32::MAX)]);
        if fsetxattr(&file, ACL, &acl(&entries), XattrFlags::empty()).is_err() {
            return;
        }
        let exposure = Exposure::of(&file).unwrap();
        assert!(exposure.has_acl);
        let problem = exposure.judge(&path, Secrets::Private).unwrap();
        assert!(problem.what.contains("is open to user 20"), "{problem:?}");
    }

    #[test]
    fn the_list_of_a_file_counts_and_not_the_mask_in_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        fs::write(&path, "secret").unwrap();
        let file = File::open(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let list = acl(&[
            (0x01, READ | WRITE, u32::MAX),
            (0x02, READ, 12345),
            (0x04, 0, u32::MAX),
            (0x10, READ, u32::MAX),
            (0x20, 0, u32::MAX),
        ]);
        // Not every file system has them.
        if fsetxattr(&file, ACL, &list, XattrFlags::empty()).is_err() {
            return;
        }
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o640);
        let problem = Exposure::of(&file).unwrap().judge(&path, Secrets::Private).unwrap();
        assert!(problem.what.ends_with("is open to user 12345 (mode 0640)"), "{problem:?}");
        assert!(problem.mend.contains("setfacl -b "), "{problem:?}");
    }
}
