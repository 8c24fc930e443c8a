//! Which joins of a stream there are, in which output mode: Spark's `UnsupportedOperationChecker`.

use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::Join;

use crate::error::{Error, Result};
use crate::output_mode::OutputMode;
use crate::plan::is_streaming;
use crate::plan::join::{Condition, state_bounds};

/// Checks the join of two streams in an analyzed plan.
pub fn check_stream_join(join: &Join, mode: OutputMode) -> Result<()> {
    let name = join_name(join.join_type);
    check_type(join.join_type)?;
    let in_update = matches!(join.join_type, JoinType::Inner | JoinType::LeftSemi);
    let refused = match mode {
        OutputMode::Append => None,
        OutputMode::Update if in_update => None,
        _ if in_update => Some("in Append and Update output modes"),
        _ => Some("in Append output mode"),
    };
    if let Some(modes) = refused {
        let message = format!(
            "{name} join between two streaming DataFrames/Datasets is not supported in {mode} output mode, only {modes}"
        );
        return Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION", message).with_help("use OUTPUT MODE APPEND"));
    }
    if join.join_type != JoinType::Inner && !is_bounded(join) {
        let message = format!(
            "Stream-stream {name} join between two streaming DataFrame/Datasets is not supported without a watermark in the \
             join keys, or a watermark on the nullable side and an appropriate range condition"
        );
        return Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION", message).with_help(
            "without it nobody knows when a row has no match: add WATERMARK … DELAY OF … to both streams and a condition \
             such as l.time BETWEEN r.time - INTERVAL 1 MINUTE AND r.time",
        ));
    }
    Ok(())
}

/// INTERSECT and EXCEPT are joins of distinct rows in which NULL equals NULL.
pub fn check_set_operation(join: &Join, mode: OutputMode) -> Result<()> {
    if join.null_equality != NullEquality::NullEqualsNull {
        return Ok(());
    }
    match join.join_type {
        JoinType::LeftSemi => Err(Error::unsupported(
            "UNSUPPORTED_STREAMING_OPERATION",
            "intersect of streaming DataFrames/Datasets is not supported",
        )
        .with_help("use LEFT SEMI JOIN on the columns that must be equal")),
        JoinType::LeftAnti if is_streaming(&join.right) => Err(Error::unsupported(
            "UNSUPPORTED_STREAMING_OPERATION",
            "except on a streaming DataFrame/Dataset on the right is not supported",
        )
        .with_help("a row is never known to be absent from an endless input: put the stream on the left")),
        JoinType::LeftAnti if mode == OutputMode::Append => Err(Error::unsupported(
            "UNSUPPORTED_STREAMING_OPERATOR_WITHOUT_WATERMARK",
            "EXCEPT on a stream is not supported in append output mode without watermark",
        )
        .with_help("use LEFT ANTI JOIN, which keeps duplicates, or OUTPUT MODE UPDATE")),
        _ => Ok(()),
    }
}

/// A join of a stream and a table.
pub fn check_join(join: &Join) -> Result<()> {
    use JoinType::{Full, Inner, Left, LeftAnti, LeftSemi, Right};
    let (left, right) = (is_streaming(&join.left), is_streaming(&join.right));
    let allowed = match join.join_type {
        Inner => true,
        Left | LeftSemi | LeftAnti => left,
        Right => right,
        Full => false,
        _ => false,
    };
    if allowed {
        return Ok(());
    }
    let (stream, table) = if left { ("left", "right") } else { ("right", "left") };
    let kind = join.join_type;
    Err(Error::unsupported(
        "UNSUPPORTED_STREAMING_OPERATION",
        format!("{kind} join with a streaming DataFrame/Dataset on the {stream} and a static DataFrame/Dataset on the {table} is not supported"),
    )
    .with_help("only rows of the stream can be kept: put the stream on the side that the join keeps"))
}

fn check_type(join_type: JoinType) -> Result<()> {
    use JoinType::{Full, Inner, Left, LeftAnti, LeftSemi, Right};
    let message = match join_type {
        Inner | Left | Right | Full | LeftSemi => return Ok(()),
        LeftAnti => "LeftAnti joins with a streaming DataFrame/Dataset on the right are not supported".to_owned(),
        other => format!("Join type {other} is not supported with streaming DataFrame/Dataset"),
    };
    let help = "use LEFT OUTER JOIN and keep the rows whose right side is NULL";
    Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION", message).with_help(help))
}

/// Whether rows that an outer join keeps, or a semi join may still give, are known to be final at some time.
fn is_bounded(join: &Join) -> bool {
    let (left, right) = (join.left.schema(), join.right.schema());
    let condition = Condition::of(join);
    if condition.watermark_key(left, right).is_some() {
        return true;
    }
    let conjuncts = condition.residual();
    let of_left = || !state_bounds(&conjuncts, left, right).is_empty();
    let of_right = || !state_bounds(&conjuncts, right, left).is_empty();
    match join.join_type {
        JoinType::Right => of_right(),
        JoinType::Full => of_left() || of_right(),
        _ => of_left(),
    }
}

/// As Spark writes it.
fn join_name(join_type: JoinType) -> &'static str {
    match join_type {
        JoinType::Inner => "Inner",
        JoinType::Left => "LeftOuter",
        JoinType::Right => "RightOuter",
        JoinType::Full => "FullOuter",
        JoinType::LeftSemi => "LeftSemi",
        JoinType::LeftAnti => "LeftAnti",
        _ => "this kind of",
    }
}
