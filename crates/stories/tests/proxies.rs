//! Behind a TCP load balancer: whom the PROXY protocol is believed from, and what comes of it.

use mantlet_core::identity::Population;
use mantlet_stories::stage::Plan;
use mantlet_stories::{World, need_bed};

use crate::raw::{self, Ask};

const V1: &[u8] = b"PROXY TCP4 192.0.2.77 192.0.2.1 40000 443\r\n";

/// Version 2, from 2001:db8::77, with a TLV behind the addresses.
fn v2() -> Vec<u8> {
    let address = |last: u8| [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[last]].concat();
    let rest = [
        address(0x77),
        address(1),
        vec![0x9c, 0x40, 0x01, 0xbb],
        vec![0x04, 0, 2, 0, 0],
    ]
    .concat();
    let length = (rest.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x21".to_vec(), length.to_vec(), rest].concat()
}

async fn world(bed: &mantlet_stories::Bed, name: &str, proxy: &str) -> World {
    let mut plan = Plan::new(bed, name);
    plan.proxies = vec![proxy.to_owned()];
    World::start_ready(&plan).await
}

/// The code of an answer to a request behind `before`; None where there is no TLS.
async fn ask(world: &World, before: &[u8]) -> Option<u16> {
    let token = world.token(Population::People, "proxied", &[]);
    let stream = raw::connect_after(world, b"http/1.1", before).await.ok()?;
    let bytes = Ask::new("GET", "/version", &token).bytes();
    Some(raw::exchange(stream, &bytes, false).await.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_for_whom_it_comes_or_is_turned_away() {
    let bed = need_bed!();
    let world = world(bed, "proxies", "127.0.0.0/8").await;
    assert_eq!(ask(&world, V1).await, Some(200));
    assert_eq!(ask(&world, &v2()).await, Some(200));
    // Its own health check: it speaks for itself.
    assert_eq!(ask(&world, b"PROXY UNKNOWN\r\n").await, Some(200));
    let local = [&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..]].concat();
    assert_eq!(ask(&world, &local).await, Some(200));
    // T16 of the design: who is believed must speak, and clearly.
    assert_eq!(ask(&world, b"").await, None);
    assert_eq!(ask(&world, b"PROXY TCP4 192.0.2.77 192.0.2.1 40000\r\n").await, None);
    assert_eq!(ask(&world, &[V1, V1].concat()).await, None);
    let mut sources: Vec<_> = world.events().await.into_iter().map(|e| e.event.source_ips).collect();
    sources.sort();
    let local = "127.0.0.1";
    assert_eq!(
        sources,
        [vec![local], vec![local], vec!["192.0.2.77"], vec!["2001:db8::77"]]
    );
    let page = mantlet_stories::served::page(world.telemetry, "/metrics")
        .await
        .unwrap();
    assert!(
        page.contains("mantlet_connections_turned_away_total{reason=\"proxy\"} 2"),
        "{page}"
    );
    assert!(
        page.contains("mantlet_connections_turned_away_total{reason=\"handshake\"} 1"),
        "{page}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_else_is_served_without_and_not_with_it() {
    let bed = need_bed!();
    let world = world(bed, "proxies-none", "192.0.2.0/24").await;
    assert_eq!(ask(&world, b"").await, Some(200));
    assert_eq!(ask(&world, V1).await, None);
    assert_eq!(ask(&world, &v2()).await, None);
    let sources: Vec<_> = world.events().await.into_iter().map(|e| e.event.source_ips).collect();
    assert_eq!(sources, [vec!["127.0.0.1"]]);
    world.end().await;
}
