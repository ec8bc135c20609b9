//! The PROXY protocol, versions 1 and 2 (haproxy.org `doc/proxy-protocol.txt`): a proxy in front says whose connection this is.
//!
//! In: a connection from a peer that the configuration trusts. Out: the address of the client behind it; nothing beyond the header is read.
//! Refuses: a connection without the header, with a broken one, or with one that is larger than it need be. Nobody else is asked: from others the
//! header is a bad TLS hello.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The peers whose word is taken for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted(pub Vec<Cidr>);

/// A network, such as `10.0.0.0/8`, or an address alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

/// 2.1: "the worst case" of a line, CRLF included.
const LINE_BYTES: usize = 107;
/// 2.2: "\r\n\r\n\0\r\nQUIT\n".
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Addresses take 36 bytes (216 for sockets of one host); what else there is are TLVs, among them client certificates' names. Nobody here reads them.
const REST_BYTES: usize = 2 * 1024;

impl Trusted {
    pub(crate) fn has(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.has(peer))
    }
}

/// Whose connection it is. `None`: the proxy's own (LOCAL, UNKNOWN), such as a health check.
///
/// # Cancel safety
/// None: what was read is lost. The connection is closed then.
pub(crate) async fn client<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut begin = [0; SIGNATURE.len()];
    stream.read_exact(&mut begin).await?;
    match begin {
        SIGNATURE => binary(stream).await,
        text if text.starts_with(b"PROXY ") => line(stream, &text).await,
        _ => Err(wrong("there is no PROXY header")),
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`.
async fn line<S: AsyncRead + Unpin>(stream: &mut S, begin: &[u8]) -> io::Result<Option<SocketAddr>> {
    let mut line = begin.to_vec();
    // Byte by byte: what follows is TLS, and not ours to take.
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_BYTES || line.contains(&b'\n') {
            return Err(wrong("its line does not end"));
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line[..line.len() - 2]).map_err(|_| wrong("its line is no text"))?;
    let words: Vec<_> = text.split(' ').collect();
    match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", "TCP4", ends @ ..] => one::<Ipv4Addr>(ends).map(Some),
        ["PROXY", "TCP6", ends @ ..] => one::<Ipv6Addr>(ends).map(Some),
        _ => Err(wrong("its line is not as the specification has it")),
    }
}

/// The first of two ends: both must be there.
fn one<A: FromStr + Into<IpAddr>>(ends: &[&str]) -> io::Result<SocketAddr> {
    let port = |text: &str| text.parse().ok().filter(|number: &u16| number.to_string() == text);
    let [from, to, from_port, to_port] = ends else {
        return Err(wrong("its line is not as the specification has it"));
    };
    match (from.parse::<A>(), to.parse::<A>(), port(from_port), port(to_port)) {
        (Ok(from), Ok(_), Some(port), Some(_)) => Ok(SocketAddr::new(from.into(), port)),
        _ => Err(wrong("its addresses cannot be read")),
    }
}

/// Version 2, behind the signature: version and command, family, length, addresses, TLVs.
async fn binary<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_BYTES {
        return Err(wrong("it is larger than 2 KiB"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    match (command, family) {
        // LOCAL: "the receiver must ignore the address".
        (0x20, _) => Ok(None),
        // TCP over IPv4 and IPv6: source, destination, the port of each.
        (0x21, 0x11) => first::<4>(&rest).map(Some),
        (0x21, 0x21) => first::<16>(&rest).map(Some),
        // UNSPEC: "the receiver should ignore address information".
        (0x21, 0x00) => Ok(None),
        (0x21, _) => Err(wrong("it speaks of no TCP connection")),
        _ => Err(wrong("its version or command is unknown")),
    }
}

fn first<const N: usize>(rest: &[u8]) -> io::Result<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    match (rest.first_chunk::<N>(), rest.get(2 * N..2 * N + 4)) {
        (Some(from), Some([high, low, _, _])) => {
            Ok(SocketAddr::new(IpAddr::from(*from), u16::from_be_bytes([*high, *low])))
        }
        _ => Err(wrong("its addresses are cut off")),
    }
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Cidr {
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// The address with the bits behind the network's cleared.
    fn network(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| format!("`{text}` is not a network"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|n: &u8| *n <= most && n.to_string() == bits)
                .ok_or_else(|| format!("`{text}` is not a network"))?,
        };
        let cidr = Self { address, bits };
        // `10.0.0.1/8` means one of two things, and trust is no place to guess.
        match cidr.network() == address && address == address.to_canonical() {
            true => Ok(cidr),
            false => Err(format!(
                "`{text}` has bits behind its network: is it `{}/{bits}`?",
                cidr.network()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of the client, and what is left for TLS.
    async fn read(bytes: &[u8]) -> io::Result<(Option<SocketAddr>, Vec<u8>)> {
        let mut stream = bytes;
        let client = client(&mut stream).await?;
        Ok((client, stream.to_vec()))
    }

    fn second(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest, b"hello"].concat()
    }

    #[tokio::test]
    async fn a_line_says_who_comes_and_leaves_the_rest() {
        for (line, client) in [
            ("PROXY TCP4 192.0.2.7 192.0.2.2 56324 443\r\n", Some("192.0.2.7:56324")),
            ("PROXY TCP6 2001:db8::7 2001:db8::2 1 443\r\n", Some("[2001:db8::7]:1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
        ] {
            let read = read(format!("{line}hello").as_bytes()).await.unwrap();
            assert_eq!(read, (client.map(|c| c.parse().unwrap()), b"hello".to_vec()), "{line}");
        }
    }

    #[tokio::test]
    async fn a_broken_line_is_refused() {
        for line in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.2 56324\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.2 56324 443 1\r\n",
            "PROXY TCP4 2001:db8::7 192.0.2.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.07 192.0.2.2 56324 443\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.2 +1 443\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.2 65536 443\r\n",
            "PROXY UDP4 192.0.2.7 192.0.2.2 1 443\r\n",
            "proxy TCP4 192.0.2.7 192.0.2.2 1 443\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.2 1 443\n\r\n",
            "PROXY  TCP4 192.0.2.7 192.0.2.2 1 443\r\n",
            &format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)),
            "PROXY TCP4 192.0",
        ] {
            assert!(read(line.as_bytes()).await.is_err(), "{line:?}");
        }
    }

    #[tokio::test]
    async fn the_second_version_is_read_and_its_tlvs_are_skipped() {
        let v4 = [192, 0, 2, 7, 192, 0, 2, 2, 220, 4, 1, 187];
        let v6 = ["2001:db8::7", "2001:db8::2"].map(|a| a.parse::<Ipv6Addr>().unwrap().octets());
        let v6 = [&v6.concat()[..], &[220, 4, 1, 187]].concat();
        let tlv = [&v4[..], &[0x02, 0, 3, b'a', b'b', b'c']].concat();
        for (bytes, client) in [
            (second(0x21, 0x11, &v4), Some("192.0.2.7:56324")),
            (second(0x21, 0x11, &tlv), Some("192.0.2.7:56324")),
            (second(0x21, 0x21, &v6), Some("[2001:db8::7]:56324")),
            (second(0x20, 0x00, &[]), None),
            (second(0x20, 0x11, &v4), None),
            (second(0x21, 0x00, &[1, 2, 3]), None),
        ] {
            let read = read(&bytes).await.unwrap();
            assert_eq!(
                read,
                (client.map(|c| c.parse().unwrap()), b"hello".to_vec()),
                "{bytes:?}"
            );
        }
        for bytes in [
            second(0x11, 0x11, &v4),
            second(0x22, 0x11, &v4),
            second(0x21, 0x12, &v4),
            second(0x21, 0x31, &[0; 216]),
            second(0x21, 0x11, &v4[..11]),
            second(0x21, 0x21, &v6[..35]),
            second(0x21, 0x11, &[0; 2049]),
            second(0x21, 0x11, &v4)[..20].to_vec(),
        ] {
            assert!(read(&bytes).await.is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn networks_are_read_strictly_and_hold_what_is_in_them() {
        let has = |network: &str, address: &str| network.parse::<Cidr>().unwrap().has(address.parse().unwrap());
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("10.0.0.7", "10.0.0.7") && !has("10.0.0.7", "10.0.0.6"));
        assert!(has("10.0.0.0/8", "::ffff:10.1.2.3") && !has("10.0.0.0/8", "::1"));
        assert!(has("2001:db8::/32", "2001:db8:1::1") && !has("2001:db8::/32", "2001:db9::1"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::1"));
        for bad in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0/8",
            "host",
            "",
            "::ffff:10.0.0.0/104",
            "10.0.0.0/",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
