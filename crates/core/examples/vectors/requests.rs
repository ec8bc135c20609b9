//! Requests to put to both parsers: some by hand, the rest of a seed, so that they are the same at every run.

use std::collections::HashSet;

/// A request line, and whether an honest client sends it.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) plain: bool,
}

const HONEST: usize = 1900;
const HOSTILE: usize = 2900;

/// Those of `requests.txt` (`+` marks the plain ones), then invented ones; none twice.
pub(crate) fn all(by_hand: &str) -> Vec<Request> {
    let written = by_hand.lines().filter_map(|line| {
        let (method, url) = line.get(1..)?.split_once(' ')?;
        Some(request(method, url.to_owned(), line.starts_with('+')))
    });
    let mut dice = Dice(0x6d61_6e74_6c65_7431);
    let mut requests: Vec<Request> = written.collect();
    let mut seen: HashSet<(String, String)> = requests.iter().map(|r| (r.method.clone(), r.url.clone())).collect();
    let mut add = |many: usize, invent: fn(&mut Dice) -> Request| {
        let mut left = many;
        while left > 0 {
            let request = invent(&mut dice);
            if seen.insert((request.method.clone(), request.url.clone())) {
                requests.push(request);
                left -= 1;
            }
        }
    };
    add(HONEST, honest);
    add(HOSTILE, hostile);
    requests
}

fn request(method: &str, url: String, plain: bool) -> Request {
    Request {
        method: method.to_owned(),
        url,
        plain,
    }
}

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, many: usize) -> usize {
        (self.roll() % many as u64) as usize
    }

    pub(crate) fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

const NAMESPACED: [&str; 20] = [
    "/api/v1|pods",
    "/api/v1|secrets",
    "/api/v1|configmaps",
    "/api/v1|services",
    "/api/v1|events",
    "/api/v1|serviceaccounts",
    "/api/v1|persistentvolumeclaims",
    "/api/v1|bindings",
    "/apis/apps/v1|deployments",
    "/apis/apps/v1|statefulsets",
    "/apis/batch/v1|jobs",
    "/apis/batch/v1|cronjobs",
    "/apis/networking.k8s.io/v1|ingresses",
    "/apis/rbac.authorization.k8s.io/v1|rolebindings",
    "/apis/policy/v1|poddisruptionbudgets",
    "/apis/coordination.k8s.io/v1|leases",
    "/apis/discovery.k8s.io/v1|endpointslices",
    "/apis/example.com/v1alpha1|widgets",
    "/apis/a.b-c.dev/v2beta3|things",
    "/apis/metrics.k8s.io/v1beta1|pods",
];
const CLUSTER: [&str; 8] = [
    "/api/v1|nodes",
    "/api/v1|persistentvolumes",
    "/api/v1|namespaces",
    "/apis/rbac.authorization.k8s.io/v1|clusterroles",
    "/apis/storage.k8s.io/v1|storageclasses",
    "/apis/apiextensions.k8s.io/v1|customresourcedefinitions",
    "/apis/certificates.k8s.io/v1|certificatesigningrequests",
    "/apis/admissionregistration.k8s.io/v1|validatingwebhookconfigurations",
];
const NAMES: [&str; 9] = [
    "web",
    "web-0",
    "a.b.c",
    "system:node",
    "system:a%20b",
    "x_y~z",
    "caf%C3%A9",
    "p%2Bq",
    "0",
];
const SELECTORS: [&str; 14] = [
    "fieldSelector=metadata.name%3Dweb",
    "fieldSelector=metadata.name%3D%3Dweb",
    "fieldSelector=metadata.name!=web",
    "fieldSelector=metadata.name%3Dweb,status.phase!%3DRunning",
    "fieldSelector=metadata.namespace%3Da",
    "fieldSelector=spec.nodeName=n1",
    "fieldSelector=metadata.name%3Da%5C,b",
    "fieldSelector=",
    "labelSelector=app%3Dweb",
    "labelSelector=app%20in%20(a,b),!c",
    "labelSelector=app=web&fieldSelector=metadata.name=web",
    "limit=500&continue=abc",
    "resourceVersion=0&resourceVersionMatch=NotOlderThan",
    "timeoutSeconds=30",
];
const WATCHES: [&str; 12] = [
    "watch",
    "watch=",
    "watch=1",
    "watch=true",
    "watch=TRUE",
    "watch=no",
    "watch=2",
    "watch=0",
    "watch=false",
    "watch=FALSE",
    "watch=%31",
    "w%61tch=fAlSe",
];
const WRITES: [&str; 6] = [
    "",
    "dryRun=All",
    "fieldManager=kubectl-create",
    "fieldValidation=Strict&fieldManager=a%20b",
    "pretty=true",
    "timeout=30s",
];

/// What kubectl and controllers send, in every shape of a path.
fn honest(dice: &mut Dice) -> Request {
    if dice.percent(6) {
        return bare(dice);
    }
    let namespaced = dice.percent(75);
    let (prefix, resource) = if namespaced {
        dice.pick(&NAMESPACED)
    } else {
        dice.pick(&CLUSTER)
    }
    .split_once('|')
    .unwrap_or_default();
    let place = match namespaced {
        true if dice.percent(80) => format!(
            "{prefix}/namespaces/{}/{resource}",
            dice.pick(&["a", "kube-system", "team-1", "default"])
        ),
        true | false => format!("{prefix}/{resource}"),
    };
    let name = dice.pick(&NAMES);
    let whole = |method: &str, path: String, query: &str| {
        let url = if query.is_empty() {
            path
        } else {
            format!("{path}?{query}")
        };
        request(method, url, true)
    };
    match dice.below(12) {
        0..=3 => {
            let query = collection_query(dice);
            whole("GET", place, &query)
        }
        4 => whole(
            "GET",
            format!("{place}/{name}"),
            dice.pick(&["", "resourceVersion=0", "watch=true", "includeObject=Object"]),
        ),
        5 => whole("POST", place, dice.pick(&WRITES)),
        6 => whole("PUT", format!("{place}/{name}"), dice.pick(&WRITES)),
        7 => whole(
            "PATCH",
            format!("{place}/{name}"),
            dice.pick(&["", "force=true&fieldManager=x", "dryRun=All", "force"]),
        ),
        8 => whole(
            "DELETE",
            format!("{place}/{name}"),
            dice.pick(&[
                "",
                "dryRun=All&gracePeriodSeconds=0",
                "propagationPolicy=Orphan",
                "uid=u",
            ]),
        ),
        9 => whole("DELETE", place, dice.pick(&SELECTORS)),
        10 => {
            let method = dice.pick(&["GET", "PUT", "PATCH"]);
            let scales = resource != "namespaces"; // there it would be a resource of the namespace
            whole(
                method,
                format!(
                    "{place}/{name}/{}",
                    dice.pick(if scales { &["status", "scale"] } else { &["status"] })
                ),
                "",
            )
        }
        _ => special(dice, name),
    }
}

fn collection_query(dice: &mut Dice) -> String {
    let mut pairs: Vec<&str> = Vec::new();
    if dice.percent(50) {
        pairs.push(dice.pick(&WATCHES));
    }
    if dice.percent(60) {
        pairs.push(dice.pick(&SELECTORS));
    }
    pairs.join("&")
}

fn bare(dice: &mut Dice) -> Request {
    const BARE: [&str; 16] = [
        "/api",
        "/api/v1",
        "/apis",
        "/apis/apps",
        "/apis/apps/v1",
        "/apis/a.b-c.dev/v2beta3",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/apis/apps/v1",
        "/version",
        "/healthz",
        "/livez",
        "/readyz",
        "/readyz/etcd",
        "/livez/ping",
        "/healthz/poststarthook/crd-informer-synced",
    ];
    let path = dice.pick(&BARE);
    let slash = if dice.percent(30) { "/" } else { "" };
    let query = if path.starts_with("/readyz") || path.starts_with("/livez") {
        dice.pick(&["", "?verbose", "?exclude=etcd&exclude=ping"])
    } else {
        dice.pick(&["", "?timeout=32s"])
    };
    request("GET", format!("{path}{slash}{query}"), true)
}

/// Subresources that do something of their own.
fn special(dice: &mut Dice, name: &str) -> Request {
    const SPECIAL: [&str; 16] = [
        "GET /api/v1/namespaces/a/pods/N/log?follow=true&tailLines=10&container=c",
        "GET /api/v1/namespaces/a/pods/N/log",
        "GET /api/v1/namespaces/a/pods/N/exec?command=sh&command=-c&stdin=true&stdout=true",
        "POST /api/v1/namespaces/a/pods/N/exec?command=id&container=c&stderr=true",
        "GET /api/v1/namespaces/a/pods/N/attach?stdin=true&tty=true",
        "POST /api/v1/namespaces/a/pods/N/portforward?ports=80&ports=443",
        "POST /api/v1/namespaces/a/pods/N/eviction",
        "POST /api/v1/namespaces/a/pods/N/binding",
        "PATCH /api/v1/namespaces/a/pods/N/ephemeralcontainers",
        "PATCH /api/v1/namespaces/a/pods/N/resize?dryRun=All",
        "POST /api/v1/namespaces/a/serviceaccounts/N/token",
        "PUT /apis/certificates.k8s.io/v1/certificatesigningrequests/N/approval",
        "PUT /api/v1/namespaces/N/finalize",
        "PATCH /api/v1/namespaces/N/status",
        "M /api/v1/namespaces/a/services/N/proxy/x/y?path=z",
        "M /api/v1/nodes/N/proxy",
    ];
    let (method, url) = dice.pick(&SPECIAL).split_once(' ').unwrap_or_default();
    let method = if method == "M" {
        dice.pick(&["GET", "POST", "PUT", "PATCH", "DELETE"])
    } else {
        method
    };
    request(method, url.replace('N', name), true)
}

const METHODS: [&str; 14] = [
    "GET", "GET", "GET", "GET", "GET", "POST", "PUT", "PATCH", "DELETE", "DELETE", "HEAD", "get", "OPTIONS", "Delete",
];
const PREFIXES: [&str; 34] = [
    "/api/v1",
    "/api/v1",
    "/api/v1",
    "/api/v1",
    "/apis/apps/v1",
    "/apis/apps/v1",
    "/apis/batch/v1",
    "/apis/example.com/v1alpha1",
    "/api",
    "/apis",
    "/apis/apps",
    "/api/v2",
    "/API/v1",
    "/Apis/apps/v1",
    "/api/V1",
    "/apis/Apps/v1",
    "/apis/apps/V1",
    "//api/v1",
    "/api//v1",
    "/apis//v1",
    "/apis/apps//v1",
    "/api/v1/",
    "/api%2Fv1",
    "/%61pi/v1",
    "/ap%69s/apps/v1",
    "/api/v%31",
    "/apis/ex%61mple.com/v1",
    "/apis/example_com/v1",
    "/apis/caf%C3%A9/v1",
    "/apis/a/v1.2",
    "/./api/v1",
    "/x/../api/v1",
    "",
    "/apis/namespaces/v1",
];
const VERBS: [&str; 12] = ["", "", "", "", "", "", "", "", "/watch", "/proxy", "/Watch", "/w%61tch"];
const NAMESPACES: [&str; 30] = [
    "",
    "",
    "",
    "",
    "",
    "/namespaces/a",
    "/namespaces/a",
    "/namespaces/a",
    "/namespaces/a",
    "/namespaces/a",
    "/namespaces/",
    "/namespaces/a/",
    "/namespaces/a%2Fb",
    "/namespaces/status",
    "/namespaces/finalize",
    "/namespaces/namespaces",
    "/namespaces/A",
    "/namespaces/%61",
    "/namespaces/a%20b",
    "/namespaces/.",
    "/namespaces/..",
    "/namespaces/%2e%2e",
    "/namespaces/a;b",
    "/namespaces/caf%C3%A9",
    "/namespaces/a%00",
    "/Namespaces/a",
    "/n%61mespaces/a",
    "/namespaces",
    "/namespaces/a/namespaces/b",
    "/namespaces/watch",
];
const RESOURCES: [&str; 36] = [
    "/pods",
    "/pods",
    "/pods",
    "/secrets",
    "/secrets",
    "/deployments",
    "/configmaps",
    "/namespaces",
    "/nodes",
    "/services",
    "/status",
    "/finalize",
    "/scale",
    "/watch",
    "/proxy",
    "/bindings",
    "/things",
    "/Pods",
    "/pods%00",
    "/",
    "",
    "/po%64s",
    "/pods.",
    "/pods;x=1",
    "/pods%3Bx",
    "/pods%3Fwatch=1",
    "/pods%23x",
    "/po_ds",
    "/pods%20",
    "/p%C3%B6ds",
    "/pods%2Fp",
    "/pods%252Fp",
    "/..",
    "/%2e",
    "/pods,services",
    "/namespaces/x",
];
const HOSTILE_NAMES: [&str; 52] = [
    "",
    "",
    "",
    "",
    "",
    "",
    "",
    "/p",
    "/p",
    "/p",
    "/p",
    "/p",
    "/p",
    "/status",
    "/finalize",
    "/watch",
    "/proxy",
    "/namespaces",
    "/p.q",
    "/system:admin",
    "/a%20b",
    "/p%2Fq",
    "/p%2fq",
    "/%2e%2e",
    "/..",
    "/.",
    "/...",
    "/%2E",
    "/p%5Cq",
    "/p\\q",
    "/%ff",
    "/%c0%af",
    "/%C3%A9",
    "/p+q",
    "/p=q",
    "/p@q",
    "/http:svc:80",
    "/p;q",
    "/p,q",
    "/p!q",
    "/p~q",
    "/p'q",
    "/(p)",
    "/$p",
    "/&p",
    "/p%",
    "/%zz",
    "/p%25",
    "/p%3Fq",
    "/p*",
    "/LONG",
    "/%E2%80%A8",
];
const SUBRESOURCES: [&str; 30] = [
    "",
    "",
    "",
    "",
    "",
    "",
    "/status",
    "/scale",
    "/log",
    "/exec",
    "/attach",
    "/portforward",
    "/proxy",
    "/proxy",
    "/eviction",
    "/binding",
    "/ephemeralcontainers",
    "/resize",
    "/token",
    "/finalize",
    "/approval",
    "/Status",
    "/exec%2F",
    "/teleport",
    "/",
    "/ex%65c",
    "/..",
    "/%2e%2e",
    "/exec;x",
    "/log%00",
];
const TAILS: [&str; 14] = [
    "", "", "", "", "", "", "/", "//", "/x", "/x/y", "/..", "/status", "/x%2Fy", "/%20",
];
const HOSTILE_QUERIES: [&str; 72] = [
    "watch",
    "watch=",
    "watch=0",
    "watch=1",
    "watch=true",
    "watch=TRUE",
    "watch=False",
    "watch=no",
    "watch=t",
    "watch=f",
    "Watch=1",
    "WATCH=true",
    "watch=1&watch=0",
    "watch=0&watch=1",
    "watch=%30",
    "w%61tch=1",
    "watch=+0",
    "watch=0%20",
    "watch[]=1",
    "watch=false%00",
    "watch=1;x=2",
    "x=2;watch=1",
    "watch;",
    "watch=%zz",
    "watch%zz=1",
    "watch=%ff",
    "watch=1#x",
    "&watch=1",
    "&&watch=1&&",
    "=1",
    "=",
    "&",
    "fieldSelector=metadata.name%3Da",
    "fieldSelector=metadata.name=a",
    "fieldSelector=metadata.name==a",
    "fieldSelector=metadata.name!=a",
    "fieldSelector=metadata.name%3Da,metadata.name%3Db",
    "fieldSelector=metadata.name%3Da&fieldSelector=metadata.name%3Db",
    "fieldSelector=metadata.name=",
    "fieldSelector=metadata.name=..",
    "fieldSelector=metadata.name=a%2Fb",
    "fieldSelector=metadata.name=a%2525",
    "fieldSelector=Metadata.name=a",
    "fieldSelector=%20metadata.name=a",
    "fieldSelector=metadata.name%20=a",
    "fieldSelector=metadata.name=%20a",
    "fieldSelector=metadata.name=a,",
    "fieldSelector=,metadata.name=a",
    "fieldSelector=metadata.name=a=b",
    "fieldSelector=metadata.name=a%5C",
    "fieldSelector=metadata.name=a%5C%2Cb",
    "fieldSelector=metadata.name=a%5C%5C",
    "fieldSelector=metadata.name=a%5Cx",
    "fieldSelector=metadata.name%3Ea",
    "fieldSelector=metadata.name",
    "fieldSelector=metadata.name=a,metadata.name!=a",
    "fieldSelector=metadata.name==a,metadata.name==a",
    "fieldSelector=metadata.name=caf%C3%A9",
    "fieldselector=metadata.name=a",
    "labelSelector=a%3Db",
    "labelSelector=a=b&labelSelector=c=d",
    "labelSelector=a%20in%20(",
    "labelSelector==&fieldSelector=metadata.name=a",
    "limit=1",
    "limit=x",
    "limit=-1",
    "dryRun=All",
    "sendInitialEvents=true",
    "resourceVersion=0",
    "access_token=x",
    "timeoutSeconds=5&watch=1",
    "allowWatchBookmarks=&watch",
];

/// Pieces that parsers disagree on, put together at random.
fn hostile(dice: &mut Dice) -> Request {
    let method = dice.pick(&METHODS);
    let pieces: [&[&str]; 6] = [
        &PREFIXES,
        &VERBS,
        &NAMESPACES,
        &RESOURCES,
        &HOSTILE_NAMES,
        &SUBRESOURCES,
    ];
    let mut path: String = pieces.into_iter().map(|words| dice.pick(words)).collect();
    path.push_str(dice.pick(&TAILS));
    let mut url = path.replace("LONG", &"n".repeat(300));
    if url.is_empty() {
        url.push('/');
    }
    for at in 0..dice.below(3) {
        url.push(if at == 0 { '?' } else { '&' });
        url.push_str(dice.pick(&HOSTILE_QUERIES));
    }
    request(method, url, false)
}
