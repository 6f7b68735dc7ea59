using System.Globalization;
using Bert4Rec.Inference;
using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

public sealed class RecommenderTrainerTests(SmallShop shop) : IClassFixture<SmallShop>
{
    private static readonly string[] s_files =
        ["model.safetensors", "config.yaml", "users.txt", "items.tsv", "events.safetensors", "result.json", "refit/model.safetensors"];

    /// <summary>The checkpoints too say what the model depends on; the other files hold times.</summary>
    [Fact]
    public void Events_in_memory_give_what_a_file_of_them_gives()
    {
        string[] settings = ["epochs=2", "item_inter_num_interval=\"[2,inf)\"", "load_col={inter: '*', item: '*'}"];
        string expected = shop.NewRun(), actual = shop.NewRun();
        SmallShop.Train(shop.Config([.. settings, "refit=true"]), expected);
        var epochs = new List<int>();
        var result = RecommenderTrainer.Train(
            Events(),
            actual,
            new()
            {
                Settings = Settings([.. settings, "seed=8"]),
                Items = Items(),
                Device = "cpu",
                Threads = 2,
                Seed = 7,
                Refit = true,
            },
            new Told<EpochReport>(epoch => epochs.Add(epoch.Epoch)));
        Assert.Equal([1, 2], epochs);
        foreach (string file in s_files)
            Assert.True(File.ReadAllBytes(Path.Combine(expected, file)).SequenceEqual(File.ReadAllBytes(Path.Combine(actual, file))), file);
        Assert.True(result.Test["ndcg@10"] > 0);
        using var recommender = Recommender.Load(actual);
        var list = recommender.Recommend(new RecommendationRequest
        {
            History = ["p1", "p2"],
            Filters = [new("price") { Maximum = 300 }],
        });
        Assert.NotEmpty(list.Items);
    }

    [Fact]
    public void A_stopped_training_can_be_resumed()
    {
        string stopped = shop.NewRun(), whole = shop.NewRun();
        var options = new TrainerOptions { Settings = Settings("epochs=3"), Device = "cpu", Threads = 1 };
        using var cancellation = new CancellationTokenSource();
        Assert.ThrowsAny<OperationCanceledException>(() => RecommenderTrainer.Train(
            Events(), stopped, options, new Told<EpochReport>(_ => cancellation.Cancel()), cancellation.Token));
        Assert.False(File.Exists(Path.Combine(stopped, "result.json")));
        using (var half = Recommender.Load(stopped))
            Assert.Equal($"recommending with the best model so far: the training in {stopped} is not done", half.Note);
        RecommenderTrainer.Train(Events(), stopped, options with { Resume = true });
        using (var done = Recommender.Load(stopped))
            Assert.Null(done.Note);
        RecommenderTrainer.Train(Events(), whole, options);
        Assert.Equal(
            File.ReadAllBytes(Path.Combine(whole, "model.safetensors")), File.ReadAllBytes(Path.Combine(stopped, "model.safetensors")));
        Assert.Throws<InputException>(() => RecommenderTrainer.Train(Events().Skip(1), stopped, options with { Resume = true }));
    }

    /// <summary>A server would take each of its models for a finished one.</summary>
    [Fact]
    public void A_training_that_goes_on_is_not_done()
    {
        string directory = shop.NewRun(), result = Path.Combine(directory, "result.json");
        var options = new TrainerOptions { Settings = Settings("epochs=1"), Device = "cpu", Threads = 1 };
        RecommenderTrainer.Train(Events(), directory, options);
        Assert.True(File.Exists(result));
        var longer = options with { Settings = Settings("epochs=2"), Resume = true };
        bool wasThere = true;
        RecommenderTrainer.Train(Events(), directory, longer, new Told<EpochReport>(_ => wasThere = File.Exists(result)));
        Assert.False(wasThere);
        Assert.True(File.Exists(result));
        // An update leaves a model that has more in it than the events that are given here, and no checkpoint.
        File.Delete(Path.Combine(directory, "checkpoint.safetensors"));
        byte[] before = File.ReadAllBytes(Path.Combine(directory, "model.safetensors"));
        var error = Assert.Throws<InputException>(() => RecommenderTrainer.Train(Events(), directory, longer));
        Assert.Contains("has a model, and no checkpoint.safetensors to go on from", error.Message);
        Assert.Equal(before, File.ReadAllBytes(Path.Combine(directory, "model.safetensors")));
    }

    [Fact]
    public void Odd_settings_and_items_without_a_row_are_warned_of()
    {
        var warnings = new List<string>();
        RecommenderTrainer.Train(Events(), shop.NewRun(), new()
        {
            Settings = new Dictionary<string, string>(Settings("epochs=1")) { ["colour"] = "red" },
            Items = Items().Skip(1),
            Device = "cpu",
            Threads = 1,
            OnWarning = warnings.Add,
        });
        Assert.Contains(warnings, warning => warning.Contains("colour"));
        Assert.Contains(warnings, warning => warning.StartsWith("items: no row for 1 item of events;", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("u", "i\tj", 1, "events:3: 'i j' has a separator or a line break in it; take it out")]
    [InlineData("u\nu", "i", 1, "events:3: 'u\uFFFDu' has a separator or a line break in it; take it out")]
    [InlineData("", "i", 1, "events:3: user_id is empty; every row needs one")]
    [InlineData("u", null, 1, "events:3: item_id is empty; every row needs one")]
    [InlineData("u", "i", double.NaN, "events:3: timestamp must be a number, not 'NaN'")]
    public void A_wrong_event_is_named(string user, string? item, double timestamp, string message)
    {
        UserEvent[] events = [new("u", "i", 1), new(user, item!, timestamp), .. Events()];
        var error = Assert.Throws<InputException>(() => RecommenderTrainer.Train(events, shop.NewRun()));
        Assert.Equal(message, error.Message);
    }

    /// <summary>In a file it would become the character that stands for all that could not be written.</summary>
    [Fact]
    public void Half_a_character_is_refused()
    {
        UserEvent[] events = [new("u", new string('\uD800', 1), 1), .. Events()];
        var error = Assert.Throws<InputException>(() => RecommenderTrainer.Train(events, shop.NewRun()));
        Assert.EndsWith("is no Unicode text: it has half a character in it", error.Message);
    }

    [Fact]
    public void Wrong_items_and_settings_are_named()
    {
        Refuse("items:2: price must be a number, not 'dear'", new()
        {
            Items = [new("p1", new Dictionary<string, string> { ["price:float"] = "dear" })],
        });
        Refuse("items:1: column 'price' has the type 'double'", new()
        {
            Items = [new("p1", new Dictionary<string, string> { ["price:double"] = "1" })],
        });
        Refuse("items: p1 has the field a:token twice", new()
        {
            Items = [new("p1", new Dictionary<string, string> { ["a"] = "x", ["a:token"] = "y" })],
        });
        Refuse("items: the item at 1, or its fields, is null", new() { Items = [new("p1", new Dictionary<string, string>()), null!] });
        Refuse("100000 threads: wanted 1 to ", new() { Threads = 100_000 });
        UserEvent[] withNull = [.. Events().Take(2), null!];
        Assert.Equal(
            "events: the event at 2 is null",
            Assert.Throws<InputException>(() => RecommenderTrainer.Train(withNull, shop.NewRun())).Message);
        string file = Path.Combine(shop.Folder, "a file");
        File.WriteAllText(file, "");
        Assert.Contains(
            "a file, where a folder is to be",
            Assert.Throws<InputException>(() => RecommenderTrainer.Train(Events(), Path.Combine(file, "below"))).Message);
        Refuse("items:1: there are two columns 'a'; rename one", new()
        {
            Items = [new("p1", new Dictionary<string, string> { ["a"] = "x", ["a:token_seq"] = "y" })],
        });
        Refuse("epochs must be", new() { Settings = new Dictionary<string, string> { ["epochs"] = "many" } });
        Refuse("event_log", new() { Settings = new Dictionary<string, string> { ["event_log"] = "{inputs: [a.csv]}" } });
        Assert.Contains("events", Assert.Throws<InputException>(() => RecommenderTrainer.Train([], shop.NewRun())).Message);

        void Refuse(string message, TrainerOptions options) => Assert.Contains(
            message, Assert.Throws<InputException>(() => RecommenderTrainer.Train(Events(), shop.NewRun(), options)).Message);
    }

    /// <summary>Of a key that stands there twice, the later value.</summary>
    private Dictionary<string, string> Settings(params string[] more) => shop.Settings(more).Select(setting => setting.Split('=', 2))
        .Reverse().DistinctBy(pair => pair[0]).ToDictionary(pair => pair[0], pair => pair[1]);

    private IEnumerable<UserEvent> Events() => Rows("inter").Skip(1)
        .Select(row => new UserEvent(row[0], row[1], double.Parse(row[2], CultureInfo.InvariantCulture)));

    private IEnumerable<ItemFields> Items()
    {
        string[] header = Rows("item").First();
        return Rows("item").Skip(1).Select(row => new ItemFields(
            row[0], header[1..].Zip(row[1..]).ToDictionary(cell => cell.First, cell => cell.Second)));
    }

    private IEnumerable<string[]> Rows(string suffix) =>
        File.ReadLines(Path.Combine(shop.Folder, "data", "shop", $"shop.{suffix}")).Select(line => line.Split('\t'));

    /// <summary>Tells at once, on the same thread.</summary>
    private sealed class Told<T>(Action<T> tell) : IProgress<T>
    {
        public void Report(T value) => tell(value);
    }
}
