//! A real server on a local port, and what the source makes of its bytes.

use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::source::testing::{context, read, read_strings};

const SOON: Duration = Duration::from_secs(10);

struct Setup {
    listener: TcpListener,
    address: SocketAddr,
    dir: TempDir,
}

impl Setup {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener, dir: tempfile::tempdir().unwrap() }
    }

    async fn open(&self, options: &[(&str, &str)]) -> (Arc<dyn Source>, SourceContext) {
        let mut all = Options::from_iter(options.iter().copied());
        all.set("host", "127.0.0.1");
        all.set("port", self.address.port());
        let ctx = context(self.dir.path());
        (SocketStream::new("lines", None, &all).unwrap().open(ctx.clone()).await.unwrap(), ctx)
    }

    async fn accept(&self) -> TcpStream {
        timeout(SOON, self.listener.accept()).await.unwrap().unwrap().0
    }

    async fn send(&self, text: &[u8]) -> TcpStream {
        let mut peer = self.accept().await;
        peer.write_all(text).await.unwrap();
        peer
    }
}

/// Waits, woken by the source alone, until `rows` have arrived.
async fn arrived(source: &dyn Source, ctx: &SourceContext, start: u64, rows: u64) -> Offset {
    let wait = async {
        loop {
            match source.latest_offset(&Offset::from(start), ReadLimit::Configured).await.unwrap() {
                Some(end) if end.as_u64().unwrap() >= rows => return end,
                _ => ctx.wake.notified().await,
            }
        }
    };
    timeout(SOON, wait).await.unwrap()
}

async fn lines(source: &dyn Source, start: u64, end: u64) -> Vec<String> {
    read_strings(source.scan(&Offset::from(start), &Offset::from(end)).await.unwrap(), 2).await
}

#[tokio::test]
async fn lines_half_lines_and_a_new_connection() {
    let setup = Setup::new().await;
    let (source, ctx) = setup.open(&[]).await;
    assert_eq!(source.initial_offset().await.unwrap(), Offset::from(0));
    let peer = setup.send(b"one\r\ntwo\nhal").await;
    arrived(&*source, &ctx, 0, 2).await;
    assert_eq!(lines(&*source, 0, 2).await, ["one", "two"]);
    drop(peer);
    arrived(&*source, &ctx, 2, 3).await;
    let _peer = setup.send(b"next\n").await;
    arrived(&*source, &ctx, 3, 4).await;
    assert_eq!(lines(&*source, 0, 4).await, ["one", "two", "hal", "next"]);
    assert_eq!(lines(&*source, 1, 3).await, ["two", "hal"]);
    source.commit(&Offset::from(2)).await.unwrap();
    assert!(!source.is_replayable(&Offset::from(1), &Offset::from(3)));
    assert_eq!(lines(&*source, 2, 4).await, ["hal", "next"]);
    source.stop().await.unwrap();
}

#[tokio::test]
async fn bad_lines_are_counted_and_kill_only_when_asked() {
    let text = b"good\n\xff\xfe\nthis one is too long\nlast\n";
    for (mode, expected) in [("drop", vec!["good", "last"]), ("null", vec!["good", "NULL", "NULL", "last"])] {
        let setup = Setup::new().await;
        let (source, ctx) = setup.open(&[("maxLineLength", "10"), ("badRecords", mode)]).await;
        let _peer = setup.send(text).await;
        arrived(&*source, &ctx, 0, expected.len() as u64).await;
        assert_eq!(lines(&*source, 0, expected.len() as u64).await, expected);
        assert_eq!(source.metrics().bad_records, 2);
    }
    let setup = Setup::new().await;
    let (source, ctx) = setup.open(&[("badRecords", "fail")]).await;
    let _peer = setup.send(text).await;
    timeout(SOON, ctx.wake.notified()).await.unwrap();
    let e = source.latest_offset(&Offset::from(0), ReadLimit::All).await.unwrap_err();
    assert_eq!(e.condition(), "MALFORMED_RECORD_IN_PARSING");
}

#[tokio::test]
async fn a_full_buffer_stops_reading_until_commit() {
    let setup = Setup::new().await;
    let (source, ctx) = setup.open(&[("maxBufferedRows", "1000"), ("includeTimestamp", "true")]).await;
    let mut peer = setup.accept().await;
    let flood = SpawnedTask::spawn(async move {
        let block = "0123456789abcdef\n".repeat(10_000);
        for _ in 0..200 {
            peer.write_all(block.as_bytes()).await.unwrap();
        }
        peer
    });
    let (mut start, mut most) = (0, 0);
    while start < 2_000_000 {
        let end = arrived(&*source, &ctx, start, start + 1).await.as_u64().unwrap();
        most = most.max(end - start);
        let rows = read(source.scan(&Offset::from(start), &Offset::from(end)).await.unwrap(), 2).await;
        assert_eq!(rows.iter().map(|b| b.num_rows() as u64).sum::<u64>(), end - start);
        assert_eq!(rows[0].num_columns(), 2);
        source.commit(&Offset::from(end)).await.unwrap();
        start = end;
    }
    assert!(most < 200_000, "{most} rows were buffered");
    flood.join().await.unwrap();
}

/// The rows of a batch are committed with its successor: until then they must leave room for it.
#[tokio::test]
async fn a_batch_that_took_a_full_buffer_lets_the_next_rows_in() {
    for wal in ["false", "true"] {
        let setup = Setup::new().await;
        let (source, ctx) = setup.open(&[("maxBufferedRows", "10"), ("wal", wal)]).await;
        let mut peer = setup.accept().await;
        for round in 1..=5 {
            peer.write_all("line\n".repeat(10).as_bytes()).await.unwrap();
            let start = (round - 1) * 10;
            assert_eq!(arrived(&*source, &ctx, start, round * 10).await, Offset::from(round * 10));
            assert_eq!(lines(&*source, start, round * 10).await.len(), 10);
            if round > 1 {
                source.commit(&Offset::from(start)).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_new_process_goes_on_where_the_checkpoint_is() {
    let setup = Setup::new().await;
    let (source, ctx) = setup.open(&[]).await;
    assert!(!source.is_replayable(&Offset::from(400), &Offset::from(500)));
    assert_eq!(source.latest_offset(&Offset::from(500), ReadLimit::All).await.unwrap(), None);
    let _peer = setup.send(b"a\nb\n").await;
    assert_eq!(arrived(&*source, &ctx, 500, 502).await, Offset::from(502));
    assert_eq!(lines(&*source, 500, 502).await, ["a", "b"]);
}

#[tokio::test]
async fn with_wal_lines_survive_the_process() {
    let setup = Setup::new().await;
    let (source, ctx) = setup.open(&[("wal", "true")]).await;
    let start = source.initial_offset().await.unwrap();
    let peer = setup.send(b"one\ntwo\nthree\n").await;
    arrived(&*source, &ctx, 0, 3).await;
    source.commit(&Offset::from(1)).await.unwrap();
    source.stop().await.unwrap();
    drop((source, peer));

    let (source, ctx) = setup.open(&[("wal", "true")]).await;
    assert!(source.is_replayable(&start, &Offset::from(3)));
    assert_eq!(lines(&*source, 1, 3).await, ["two", "three"]);
    let _peer = setup.send(b"four\n").await;
    arrived(&*source, &ctx, 3, 4).await;
    assert_eq!(lines(&*source, 1, 4).await, ["two", "three", "four"]);
}

#[tokio::test]
async fn an_unknown_host_is_an_error_and_a_refused_port_is_not() {
    let options = Options::from_iter([("host", "no-such-host.invalid"), ("port", "1")]);
    let dir = tempfile::tempdir().unwrap();
    let e = SocketStream::new("s", None, &options).unwrap().open(context(dir.path())).await.unwrap_err();
    assert_eq!(e.condition(), "SOCKET_HOST_UNKNOWN");
    let Setup { listener, address, dir } = Setup::new().await;
    drop(listener);
    let ctx = context(dir.path());
    let options = Options::from_iter([("host", "127.0.0.1".to_string()), ("port", address.port().to_string())]);
    let source = SocketStream::new("s", None, &options).unwrap().open(ctx.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let setup = Setup { listener: TcpListener::bind(address).await.unwrap(), address, dir };
    let _peer = setup.send(b"late\n").await;
    arrived(&*source, &ctx, 0, 1).await;
}
