#:package Bert4Rec@*

// Trains on events in memory, and recommends with the model:
//
//     dotnet run examples/train.cs -- MODEL
//
// The events are invented here: each customer buys one thing after the other in the order of the aisles, and skips some. In a shop they
// come out of its database.

using Bert4Rec.Inference;
using Bert4Rec.Training;

string model = args.Length > 0 ? args[0] : "model";
string[] aisles = ["fruit", "bread", "cheese", "wine"];
var random = new Random(1);

var events = new List<UserEvent>();
for (int customer = 0; customer < 400; customer++)
{
    int thing = random.Next(40);
    for (int step = 0; step < 8; step++)
    {
        events.Add(new UserEvent($"customer-{customer}", $"{aisles[thing / 10]}-{thing % 10}", step));
        thing = (thing + random.Next(1, 3)) % 40;
    }
}

var items =
    from aisle in aisles
    from number in Enumerable.Range(0, 10)
    select new ItemFields(
        $"{aisle}-{number}", new Dictionary<string, string> { ["aisle:token"] = aisle, ["price:float"] = $"{number + 1}" });

var result = RecommenderTrainer.Train(
    events,
    model,
    new TrainerOptions
    {
        Items = items,
        Refit = true,
        Seed = 1,
        Settings = new Dictionary<string, string> { ["epochs"] = "10", ["hidden_size"] = "32", ["learning_rate"] = "0.003" },
    },
    new Progress<EpochReport>(epoch => Console.Error.WriteLine($"epoch {epoch.Epoch}: loss {epoch.Loss:F3}")));
Console.WriteLine($"recall@10 on events held back: {result.Test["recall@10"]:F3}");

using var recommender = Recommender.Load(model);
var next = recommender.Recommend(new RecommendationRequest
{
    History = ["bread-7", "bread-8", "cheese-0"],
    K = 3,
    Filters = [new FieldFilter("aisle") { AnyOf = ["cheese"] }],
});
Console.WriteLine($"after bread-7, bread-8, cheese-0: {string.Join(", ", next.Items.Select(item => item.Token))}");
