//! The console: Spark's format to the character, batch by batch.

use super::process::{Server, Tidemill, command, lines_from, run_sql};

const RULE: &str = "-------------------------------------------";

fn batch(id: u64, table: &str) -> String {
    let table: String = table.lines().map(|l| format!("{}\n", l.trim())).collect();
    format!("{RULE}\nBatch: {id}\n{RULE}\n{table}\n")
}

/// Sends the lines one by one, each in a batch of its own; what was printed.
fn printed(mut tidemill: Tidemill, server: &Server, lines: &[&str]) -> String {
    let mut peer = server.accept();
    for (id, line) in lines.iter().enumerate() {
        peer.send(format!("{line}\n"));
        tidemill.wait_for_batch(id as u64);
    }
    let ended = tidemill.interrupted();
    ended.assert_code(0);
    ended.stdout
}

#[test]
fn the_word_count_in_complete_mode() {
    let server = Server::new();
    let define = format!("PORT={}", server.port());
    let args = ["run", "sql-examples/01_socket_word_count/pipeline.sql", "-D", "HOST=127.0.0.1", "-D", &define];
    let tidemill = Tidemill::start(&mut command(args));
    let expected = [
        batch(0, "+------+-----+\n|  word|count|\n+------+-----+\n|apache|    1|\n| spark|    1|\n+------+-----+"),
        batch(
            1,
            "+------+-----+\n|  word|count|\n+------+-----+\n|apache|    2|\n| spark|    1|\n|hadoop|    1|\n+------+-----+",
        ),
        batch(
            2,
            "+------+-----+\n|  word|count|\n+------+-----+\n|apache|    2|\n| spark|    1|\n|hadoop|    1|\n|日本語|    1|\n+------+-----+",
        ),
    ];
    assert_eq!(printed(tidemill, &server, &["apache spark", "apache hadoop", "日本語"]), expected.concat());
}

#[test]
fn update_mode_prints_changed_words_only() {
    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "CREATE FLOW f OUTPUT MODE UPDATE AS SELECT word, count(*) AS n
           FROM (SELECT explode(split(value, ' ')) AS word FROM lines) GROUP BY word;";
    let tidemill = run_sql(&sql, &[]);
    let expected = [
        batch(0, "+----+---+\n|word|  n|\n+----+---+\n|   a|  2|\n|   b|  1|\n+----+---+"),
        batch(1, "+----+---+\n|word|  n|\n+----+---+\n|   b|  2|\n|   c|  1|\n+----+---+"),
        batch(2, "+----+---+\n|word|  n|\n+----+---+\n|    |  1|\n+----+---+"),
    ];
    assert_eq!(printed(tidemill, &server, &["a b a", "b c", ""]), expected.concat());
}

#[test]
fn rows_and_cells_that_are_too_many_and_too_long() {
    let long = "0123456789012345678901234";
    let server = Server::new();
    let sql = lines_from(server.port(), "") + "SELECT value FROM lines;";
    let expected = batch(
        0,
        "+--------------------+\n|               value|\n+--------------------+\n|01234567890123456...|\n+--------------------+",
    );
    assert_eq!(printed(run_sql(&sql, &[]), &server, &[long]), expected);

    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "CREATE SINK c USING console OPTIONS (numRows 2, truncate false);
           INSERT INTO c SELECT explode(split(value, ' ')) AS w, value FROM lines;";
    let expected = format!(
        "{RULE}\nBatch: 0\n{RULE}\n+---+-----+\n|w  |value|\n+---+-----+\n|a  |a b c|\n|b  |a b c|\n+---+-----+\nonly showing top 2 rows\n"
    );
    assert_eq!(printed(run_sql(&sql, &[]), &server, &["a b c"]), expected);
}

#[test]
fn control_characters_and_nulls() {
    let server = Server::new();
    let sql = lines_from(server.port(), "")
        + "SELECT value, nullif(value, 'x') AS n, array(1, NULL) AS a, named_struct('k', value, 'v', 1.5D) AS s,
                  cast('2023-01-01 01:00:00' AS TIMESTAMP) AS t FROM lines WHERE value <> 'none';";
    let expected = batch(
        0,
        "+-----+----+---------+-----------+-------------------+
         |value|   n|        a|          s|                  t|
         +-----+----+---------+-----------+-------------------+
         |a\\tb|a\\tb|[1, NULL]|{a\\tb, 1.5}|2023-01-01 01:00:00|
         +-----+----+---------+-----------+-------------------+",
    )
    .replace("|a\\tb|a\\tb|", "| a\\tb|a\\tb|");
    let empty = batch(
        1,
        "+-----+---+---+---+---+
         |value|  n|  a|  s|  t|
         +-----+---+---+---+---+
         +-----+---+---+---+---+",
    );
    assert_eq!(printed(run_sql(&sql, &[]), &server, &["a\tb", "none"]), expected + &empty);
}

#[test]
fn boxes_of_several_flows_say_whose_they_are() {
    let head = "CREATE STREAM r USING `rate-micro-batch` OPTIONS (rowsPerBatch 1);";
    let flow = |name: &str| format!("CREATE FLOW {name} TRIGGER ONCE AS SELECT value FROM r;");
    let one = run_sql(&(head.to_owned() + &flow("f")), &[]).ended();
    assert!(!one.assert_code(0).stdout.contains("Flow:"), "{}", one.stdout);
    let two = run_sql(&(head.to_owned() + &flow("f") + &flow("g")), &[]).ended();
    for name in ["f", "g"] {
        let title = format!("{RULE}\nFlow: {name}\nBatch: 0\n{RULE}\n");
        assert_eq!(two.assert_code(0).stdout.matches(&title).count(), 1, "{}", two.stdout);
    }
}
