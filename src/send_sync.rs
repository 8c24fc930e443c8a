//! What the compiler need not prove again.
//!
//! A future of an `async_trait` method has to be `Send`, and for each such method the compiler looks anew at every type that the future
//! holds, down to the last field. Of a DataFusion session, whose plans hold the syntax trees of all statements, that takes seconds a
//! method: four fifths of the time of a `cargo check`. A type of ours that holds one says itself that it is `Send` and `Sync`, and
//! its fields are asked once.

/// `send_sync!(Type { every, field })`: the type is `Send` and `Sync` because its fields are. A field that is missing in the list, or is
/// not, is an error.
macro_rules! send_sync {
    ($type:ident $(<$life:lifetime>)? { $($field:ident),+ $(,)? }) => {
        // SAFETY: all of its fields are, as the function below asks.
        unsafe impl $(<$life>)? Send for $type $(<$life>)? {}
        // SAFETY: as above.
        unsafe impl $(<$life>)? Sync for $type $(<$life>)? {}

        const _: fn() = || {
            fn ask<T: Send + Sync>(_: &T) {}
            #[allow(dead_code, reason = "it is compiled, which is the check, and never called")]
            fn ask_all $(<$life>)? (value: &$type $(<$life>)?) {
                let $type { $($field),+ } = value;
                $(ask($field);)+
            }
        };
    };
}

pub(crate) use send_sync;

/// `TableProvider::scan` by a function of its arguments that gives a [`BoxFuture`](futures::future::BoxFuture): as `async fn`
/// it would prove anew, with each table, that expressions are `Sync`.
macro_rules! scan_by {
    ($by:path) => {
        fn scan<'life0, 'life1, 'life2, 'life3, 'async_trait>(
            &'life0 self,
            state: &'life1 dyn datafusion::catalog::Session,
            projection: Option<&'life2 Vec<usize>>,
            filters: &'life3 [datafusion::logical_expr::Expr],
            limit: Option<usize>,
        ) -> futures::future::BoxFuture<
            'async_trait,
            datafusion::common::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
        >
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            'life2: 'async_trait,
            'life3: 'async_trait,
            Self: 'async_trait,
        {
            $by(self, state, projection, filters, limit)
        }
    };
}

/// The same for `QueryPlanner::create_physical_plan`.
macro_rules! create_physical_plan_by {
    ($by:path) => {
        fn create_physical_plan<'life0, 'life1, 'life2, 'async_trait>(
            &'life0 self,
            plan: &'life1 datafusion::logical_expr::LogicalPlan,
            session: &'life2 dyn datafusion::catalog::Session,
        ) -> futures::future::BoxFuture<
            'async_trait,
            datafusion::common::Result<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>,
        >
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            'life2: 'async_trait,
            Self: 'async_trait,
        {
            $by(self, plan, session)
        }
    };
}

/// The same for `ExtensionPlanner::plan_extension`.
macro_rules! plan_extension_by {
    ($by:path) => {
        fn plan_extension<'life0, 'life1, 'life2, 'life3, 'life4, 'life5, 'life6, 'life7, 'async_trait>(
            &'life0 self,
            planner: &'life1 dyn datafusion::physical_planner::PhysicalPlanner,
            node: &'life2 dyn datafusion::logical_expr::UserDefinedLogicalNode,
            logical_inputs: &'life3 [&'life4 datafusion::logical_expr::LogicalPlan],
            physical_inputs: &'life5 [std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>],
            session: &'life6 dyn datafusion::catalog::Session,
            context: &'life7 datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext,
        ) -> futures::future::BoxFuture<
            'async_trait,
            datafusion::common::Result<Option<std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan>>>,
        >
        where
            'life0: 'async_trait,
            'life1: 'async_trait,
            'life2: 'async_trait,
            'life3: 'async_trait,
            'life4: 'async_trait,
            'life5: 'async_trait,
            'life6: 'async_trait,
            'life7: 'async_trait,
            Self: 'async_trait,
        {
            $by(self, planner, node, logical_inputs, physical_inputs, session, context)
        }
    };
}

pub(crate) use {create_physical_plan_by, plan_extension_by, scan_by};
