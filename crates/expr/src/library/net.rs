//! `ip('10.0.0.1')` and `cidr('10.0.0.0/8')`, as Go's `net/netip` reads and writes them. Zones and IPv4 addresses in IPv6 are none here.

use std::net::IpAddr;

use cel::common::types::Type;
use cel::common::value::Val;

use super::{Fault, Opaque, Thing, answer, reading, text, thing, truth, whole};
use crate::functions::{Answer, Args, Own, cannot, charged, refused};

pub(super) static IP: Type = Type::new_unspecified_type("net.IP");
pub(super) static CIDR: Type = Type::new_unspecified_type("net.CIDR");

pub(super) static OWN: &[Own] = &[
    ("ip", 1, ip),
    ("isIP", 1, is_ip),
    ("ip.isCanonical", 1, is_canonical),
    ("family", 1, family),
    ("isUnspecified", 1, is_unspecified),
    ("isLoopback", 1, is_loopback),
    ("isLinkLocalMulticast", 1, is_link_local_multicast),
    ("isLinkLocalUnicast", 1, is_link_local_unicast),
    ("isGlobalUnicast", 1, is_global_unicast),
    ("cidr", 1, cidr),
    ("isCIDR", 1, is_cidr),
    ("containsIP", 2, contains_ip),
    ("containsCIDR", 2, contains_cidr),
    ("masked", 1, masked),
    ("prefixLength", 1, prefix_length),
];

#[derive(Debug, Clone, Copy, PartialEq)]
struct Ip(IpAddr);

/// The bits behind the prefix are kept: `cidr('10.0.0.1/8').ip()` is `10.0.0.1`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cidr {
    ip: IpAddr,
    bits: u32,
}

impl Thing for Ip {
    fn ty() -> &'static Type {
        &IP
    }
    fn weight(&self) -> u64 {
        16
    }
}

impl Thing for Cidr {
    fn ty() -> &'static Type {
        &CIDR
    }
    fn weight(&self) -> u64 {
        16
    }
}

impl Ip {
    fn parse(text: &str) -> Option<Ip> {
        match text.parse().ok()? {
            IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => None,
            ip => Some(Ip(ip)),
        }
    }
}

impl Cidr {
    fn parse(text: &str) -> Option<Cidr> {
        let (ip, bits) = text.rsplit_once('/')?;
        let Ip(ip) = Ip::parse(ip)?;
        let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
        let bits = bits.parse().ok().filter(|bits| plain && *bits <= width(ip))?;
        Some(Cidr { ip, bits })
    }

    fn masked(self) -> Cidr {
        let ip = match self.ip {
            IpAddr::V4(four) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                IpAddr::V4((u32::from(four) & mask).into())
            }
            IpAddr::V6(six) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                IpAddr::V6((u128::from(six) & mask).into())
            }
        };
        Cidr { ip, bits: self.bits }
    }

    fn contains(self, ip: IpAddr) -> bool {
        self.masked() == Cidr { ip, bits: self.bits }.masked()
    }
}

fn width(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

pub(super) fn shown(value: &dyn Val) -> Option<String> {
    if let Some(ip) = value.downcast_ref::<Opaque<Ip>>() {
        return Some(ip.0.thing.0.to_string());
    }
    let cidr = value.downcast_ref::<Opaque<Cidr>>()?;
    Some(format!("{}/{}", cidr.0.thing.ip, cidr.0.thing.bits))
}

/// The text that is the only argument.
fn read<T>(function: &str, args: Args<'_, '_>, parse: fn(&str) -> T) -> Result<T, Fault> {
    let (meter, args) = charged(args)?;
    let text = text(&args, 0).ok_or_else(|| cannot(function, &args))?;
    meter.weight(reading(text))?;
    Ok(parse(text))
}

fn ip<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    if let Some(cidr) = thing::<Cidr>(&args, 1) {
        return Ok(answer(Ip(cidr.ip)));
    }
    read("ip", args, Ip::parse)?.map(answer).ok_or_else(not_an_address)
}

fn is_ip<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    read("isIP", args, Ip::parse).map(|ip| truth(ip.is_some()))
}

fn is_canonical<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let canonical = |text: &str| Ip::parse(text).map(|Ip(ip)| ip.to_string() == text);
    read("ip.isCanonical", args, canonical)?
        .map(truth)
        .ok_or_else(not_an_address)
}

fn of_ip<'b, 'v>(function: &str, args: Args<'b, 'v>, is: fn(IpAddr) -> bool) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    meter.weight(8)?;
    let Ip(ip) = thing::<Ip>(&args, 0).ok_or_else(|| cannot(function, &args))?;
    Ok(truth(is(*ip)))
}

fn family<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    meter.weight(8)?;
    let Ip(ip) = thing::<Ip>(&args, 0).ok_or_else(|| cannot("family", &args))?;
    Ok(whole(if ip.is_ipv4() { 4 } else { 6 }))
}

fn is_unspecified<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    of_ip("isUnspecified", args, |ip| ip.is_unspecified())
}

fn is_loopback<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    of_ip("isLoopback", args, |ip| ip.is_loopback())
}

fn is_link_local_multicast<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    of_ip("isLinkLocalMulticast", args, |ip| match ip {
        IpAddr::V4(four) => four.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
    })
}

fn is_link_local_unicast<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    of_ip("isLinkLocalUnicast", args, link_local_unicast)
}

fn link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_global_unicast<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    of_ip("isGlobalUnicast", args, |ip| {
        let broadcast = matches!(ip, IpAddr::V4(four) if four.is_broadcast());
        !broadcast && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !link_local_unicast(ip)
    })
}

fn cidr<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    read("cidr", args, Cidr::parse)?.map(answer).ok_or_else(not_a_network)
}

fn is_cidr<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    read("isCIDR", args, Cidr::parse).map(|cidr| truth(cidr.is_some()))
}

/// A network, and what may be in it: a value, or a text that is read as one.
fn within<'b, 'v, T: Thing + Copy>(
    function: &str,
    args: Args<'b, 'v>,
    parse: fn(&str) -> Option<T>,
    fault: fn() -> Fault,
    contains: fn(Cidr, T) -> bool,
) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    let cidr = thing::<Cidr>(&args, 0).ok_or_else(|| cannot(function, &args))?;
    let other = match (thing::<T>(&args, 1), text(&args, 1)) {
        (Some(other), _) => *other,
        (None, Some(text)) => {
            meter.weight(reading(text))?;
            parse(text).ok_or_else(fault)?
        }
        (None, None) => return Err(cannot(function, &args)),
    };
    meter.weight(16)?;
    Ok(truth(contains(*cidr, other)))
}

fn contains_ip<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    within("containsIP", args, Ip::parse, not_an_address, |cidr, Ip(ip)| {
        cidr.contains(ip)
    })
}

fn contains_cidr<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    within("containsCIDR", args, Cidr::parse, not_a_network, |cidr, other| {
        cidr.bits <= other.bits && cidr.contains(other.ip)
    })
}

fn masked<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    meter.weight(8)?;
    let cidr = thing::<Cidr>(&args, 0).ok_or_else(|| cannot("masked", &args))?;
    Ok(answer(cidr.masked()))
}

fn prefix_length<'b, 'v>(args: Args<'b, 'v>) -> Answer<'b, 'v> {
    let (meter, args) = charged(args)?;
    meter.weight(8)?;
    let cidr = thing::<Cidr>(&args, 0).ok_or_else(|| cannot("prefixLength", &args))?;
    Ok(whole(cidr.bits.into()))
}

fn not_an_address() -> Fault {
    refused("what should be an IP address is none")
}

fn not_a_network() -> Fault {
    refused("what should be a network in CIDR notation is none")
}
