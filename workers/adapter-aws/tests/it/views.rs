use adapter_aws::{DynamoViews, WriteTable};
use app::laws;
use contract::table::ORDER_VIEWS;

#[tokio::test]
async fn the_adapter_passes_the_laws_of_the_order_view() {
    let aws = servers::local_aws().await;
    let clients = super::clients(&aws.access);
    let (table, _) = super::table(&clients, &ORDER_VIEWS).await;
    laws::views::all(&DynamoViews::new(&clients, WriteTable::named(table))).await;
}
