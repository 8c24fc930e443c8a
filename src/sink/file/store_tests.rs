//! The same promises in a store: a crash at every point, two writers, lost answers, many steps.

use std::collections::BTreeSet;

use super::store_log::Place;
use super::*;
use crate::failpoint::Action;
use crate::sink::testing::{context, identity, ints, run_batch, stream};
use crate::store::Store;
use crate::store::testing::{Fault, memory, store};

fn sink_of(name: &str, more: &[(&str, &str)]) -> FileSink {
    let path = format!("memory://{name}/out");
    let options = [("path", path.as_str())].into_iter().chain(more.iter().copied());
    FileSink::new(FileFormatKind::Json, &Options::from_iter(options)).unwrap()
}

async fn opened(name: &str) -> FileSink {
    let sink = sink_of(name, &[]);
    sink.open(&context()).await.unwrap();
    sink
}

/// Contents of the committed objects, in order.
fn committed(store: &Store) -> String {
    let objects = committed_objects(store, "out").unwrap().unwrap();
    objects.iter().map(|o| String::from_utf8(store.get(&o.key).unwrap().unwrap().into()).unwrap()).collect()
}

/// Names of objects with rows, committed or not.
fn visible(store: &Store) -> BTreeSet<String> {
    let all = store.list("out").unwrap().into_iter().map(|o| o.key);
    all.filter(|key| !key.contains(METADATA_DIR) || key.contains("pending")).collect()
}

fn row(n: i32) -> String {
    format!("{{\"value\":{n}}}\n")
}

#[tokio::test]
async fn a_crash_at_every_point_loses_and_doubles_nothing() {
    let points = ["storesink.intended", "storesink.put", "filesink.staged", "storesink.logged"];
    for (i, point) in points.into_iter().enumerate() {
        let name = format!("crash{i}");
        let (store, context) = (store(&name), context());
        let sink = sink_of(&name, &[]);
        sink.open(&context).await.unwrap();
        run_batch(&sink, 0, vec![ints(&[1])]).await;
        context.failpoints.arm(point, Action::Error).unwrap();
        let prepared = sink.prepare(1, stream(vec![ints(&[2])])).await;
        assert!(prepared.is_err() || sink.commit(identity(1)).await.is_err(), "{point}");
        drop(sink);
        assert_eq!(committed(&store).contains('2'), point == "storesink.logged", "{point}");

        let sink = opened(&name).await;
        assert_eq!(visible(&store).len(), committed(&store).lines().count(), "{point}: leftovers");
        if sink.last_committed().await.unwrap() == LastCommitted::Batch(identity(0)) {
            run_batch(&sink, 1, vec![ints(&[2])]).await;
        }
        assert_eq!(committed(&store), row(1) + &row(2), "{point}");
        assert_eq!(visible(&store).len(), 2, "{point}");
    }
}

#[tokio::test]
async fn an_aborted_batch_leaves_nothing() {
    let store = store("abort");
    let sink = opened("abort").await;
    sink.prepare(0, stream(vec![ints(&[1])])).await.unwrap();
    assert_eq!(visible(&store).len(), 1);
    sink.abort().await.unwrap();
    assert_eq!(visible(&store).len(), 0);
    run_batch(&sink, 0, vec![ints(&[2])]).await;
    sink.close().await.unwrap();
    assert_eq!(committed(&store), row(2));
}

#[tokio::test]
async fn who_opens_later_wins_and_the_earlier_one_is_told() {
    let store = store("fenced");
    let first = opened("fenced").await;
    run_batch(&first, 0, vec![ints(&[1])]).await;
    first.prepare(1, stream(vec![ints(&[2])])).await.unwrap();
    let second = opened("fenced").await;
    assert_eq!(visible(&store).len(), 1, "what the first one prepared is gone");
    run_batch(&second, 1, vec![ints(&[3])]).await;
    let e = first.commit(identity(1)).await.unwrap_err();
    assert_eq!(e.condition(), "SINK_FENCED");
    assert!(e.message().contains("memory://fenced/out"), "{e}");
    run_batch(&second, 2, vec![ints(&[4])]).await;
    assert_eq!(committed(&store), row(1) + &row(3) + &row(4));

    let other = SinkContext { query_id: Uuid::from_u128(8), ..context() };
    let e = sink_of("fenced", &[]).open(&other).await.unwrap_err();
    assert_eq!(e.condition(), "SINK_IN_USE");
    assert!(second.holds_output_of(context().query_id).unwrap());
}

#[tokio::test]
async fn a_writer_that_slept_for_very_long_is_told_too() {
    let store = store("slept");
    let first = opened("slept").await;
    run_batch(&first, 0, vec![ints(&[1])]).await;
    let second = opened("slept").await;
    for batch in 1..200 {
        run_batch(&second, batch, vec![]).await;
    }
    let steps = store.list("out/_tidemill_metadata/log").unwrap();
    assert!(steps.len() < 70, "{} steps", steps.len());
    assert!(steps[0].key.as_str() > "out/_tidemill_metadata/log/00000000000000000003.json", "the place is free");
    first.prepare(1, stream(vec![ints(&[2])])).await.unwrap();
    assert_eq!(first.commit(identity(1)).await.unwrap_err().condition(), "SINK_FENCED");
    run_batch(&second, 200, vec![ints(&[3])]).await;
    assert_eq!(committed(&store), row(1) + &row(3));
    let sink = opened("slept").await;
    assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(200)));
}

#[tokio::test]
async fn answers_that_are_lost_change_nothing() {
    let store = store("lost");
    let sink = opened("lost").await;
    memory("lost").fail(Fault::LostAnswer("/log/"));
    run_batch(&sink, 0, vec![ints(&[1])]).await;
    // A put that may or may not be done ends the run; the next one finds out.
    memory("lost").fail(Fault::Refused("/log/"));
    sink.prepare(1, stream(vec![ints(&[2])])).await.unwrap();
    assert_eq!(sink.commit(identity(1)).await.unwrap_err().condition(), "STORE_IO");
    drop(sink);
    let sink = opened("lost").await;
    assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(0)));
    run_batch(&sink, 1, vec![ints(&[2])]).await;
    assert_eq!(committed(&store), row(1) + &row(2));
    assert_eq!(visible(&store).len(), 2);
}

#[tokio::test]
async fn a_crash_while_the_log_is_written_anew() {
    let (store, context) = (store("anew"), context());
    let sink = sink_of("anew", &[]);
    sink.open(&context).await.unwrap();
    run_batch(&sink, 0, vec![ints(&[1])]).await;
    context.failpoints.arm("storesink.compacted", Action::Error).unwrap();
    let mut batch = 1;
    loop {
        sink.prepare(batch, stream(vec![])).await.unwrap();
        if sink.commit(identity(batch)).await.is_err() {
            break;
        }
        batch += 1;
        assert!(batch < 100, "it is never written anew");
    }
    drop(sink);
    assert_eq!(committed(&store), row(1));
    let sink = opened("anew").await;
    assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(batch)));
    run_batch(&sink, batch + 1, vec![ints(&[2])]).await;
    assert_eq!(committed(&store), row(1) + &row(2));
}

#[tokio::test]
async fn rows_wait_in_a_store_too() {
    let store = store("waits");
    let sink = sink_of("waits", &[("maxFileSize", "1g")]);
    sink.open(&context()).await.unwrap();
    for batch in 0..10 {
        run_batch(&sink, batch, vec![ints(&[batch as i32])]).await;
    }
    assert_eq!(committed(&store), "");
    drop(sink);
    let sink = sink_of("waits", &[("maxFileSize", "1g")]);
    sink.open(&context()).await.unwrap();
    assert_eq!(sink.last_committed().await.unwrap(), LastCommitted::Batch(identity(9)));
    sink.close().await.unwrap();
    assert_eq!(committed(&store), (0..10).map(row).collect::<String>());
    assert_eq!(visible(&store).len(), 1);
}

#[test]
fn what_was_committed_is_read_by_place() {
    let place = Place { store: store("places"), dir: String::new() };
    assert_eq!(place.key("k=1/x"), "k=1/x");
    assert_eq!(Place { dir: "a/b".into(), ..place }.key("x"), "a/b/x");
}
