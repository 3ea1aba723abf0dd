//! Zones: on which of this host's links a link-local address is (RFC 4007).

use nix::net::if_::{if_nameindex, if_nametoindex};

use super::fault::Problem;

/// The scope id of a zone, which is the name of an interface or its number.
pub(super) fn scope_id(zone: &str) -> Result<u32, Problem> {
    if let Some(number) = number(zone) {
        return Ok(number);
    }
    if_nametoindex(zone).map_err(|_| {
        let mend = format!("the interfaces are {}", interfaces().join(", "));
        Problem::new(format!("this host has no interface {zone:?}"), mend)
    })
}

/// A zone that is written as a number.
pub(super) fn number(zone: &str) -> Option<u32> {
    zone.parse().ok().filter(|number| *number != 0)
}

fn interfaces() -> Vec<String> {
    let Ok(list) = if_nameindex() else { return Vec::new() };
    list.iter().map(|interface| interface.name().to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_an_interface_by_name_or_number() {
        assert_eq!(scope_id("lo").unwrap(), if_nametoindex("lo").unwrap());
        assert_eq!(scope_id("7"), Ok(7));
        let problem = scope_id("nowhere9").unwrap_err();
        assert!(problem.what.contains("no interface \"nowhere9\""), "{problem:?}");
        assert!(problem.mend.starts_with("the interfaces are ") && problem.mend.contains("lo"));
        for bad in ["", "0", "a\0b", "-1"] {
            assert!(scope_id(bad).is_err(), "{bad:?}");
        }
    }
}
