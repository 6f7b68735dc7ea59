using System.CommandLine;
using System.Diagnostics;
using Bert4Rec;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.Model;
using Bert4Rec.TorchPeer;
using Bert4Rec.Training;
using TorchSharp;

var config = new Option<string[]>("--config") { Description = "A YAML file with RecBole's keys.", HelpName = "FILE" };
var set = new Option<string[]>("--set") { Description = "Sets one key over the files.", HelpName = "key=value" };
var threads = new Option<int>("--threads")
{
    Description = "Threads of both.",
    HelpName = "N",
    DefaultValueFactory = _ => Environment.ProcessorCount,
};
var steps = new Option<int>("--steps") { Description = "Steps of a round.", HelpName = "N", DefaultValueFactory = _ => 2 };
var rounds = new Option<int>("--rounds") { Description = "Rounds of each, taken in turns.", HelpName = "N", DefaultValueFactory = _ => 5 };
var root = new RootCommand("Trains the same steps with this library and with TorchSharp, and compares their speed.")
{
    config, set, threads, steps, rounds,
};
root.SetAction(parsed => Compare(
    RunConfig.Load(parsed.GetValue(config) ?? [], parsed.GetValue(set) ?? []),
    parsed.GetValue(threads),
    parsed.GetValue(steps),
    parsed.GetValue(rounds)));
try
{
    return root.Parse(args).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (InputException e)
{
    Console.Error.WriteLine($"error: {e.Message}");
    return 1;
}

static int Compare(RunConfig config, int threads, int steps, int rounds)
{
    const double Agreement = 1e-4;
    torch.set_num_threads(threads);
    var dataset = DatasetLoader.Load(config);
    var sequences = TrainingSequences.Of(config, dataset, Splitter.Split(dataset, config.EvalArgs));
    var settings = TrainerSettings.Of(config, dataset.ItemCount);
    using var device = new DeviceSet("cpu", threads);
    Console.WriteLine(
        $"{config.Dataset}: {dataset.ItemCount - 1:N0} items, hidden size {config.HiddenSize}, "
        + $"batches of {config.TrainBatchSize:N0} histories; "
        + $"{device.Kernels[0].Name}, {threads} threads; libtorch {torch.get_num_threads()} threads");

    // Without dropout, whose random numbers differ, both must go the same way.
    var exact = settings with { Shape = settings.Shape with { HiddenDropout = 0, AttentionDropout = 0 } };
    double difference = 0;
    using (var trainer = new Trainer(exact, dataset, sequences, device.Kernels, device.Workers))
    {
        trainer.BeginEpoch(1);
        using var peer = new PeerTrainer(exact, trainer, dataset, device.Kernels[0]);
        for (int step = 0; step < steps; step++)
        {
            var (first, count) = Batch(trainer, step);
            double torchLoss = peer.TrainStep(step + 1, first, count), ourLoss = trainer.TrainStep(first, count);
            difference = Math.Max(difference, Math.Abs(ourLoss - torchLoss) / torchLoss);
            Console.WriteLine($"step {step + 1} without dropout: loss {ourLoss:F6} ours, {torchLoss:F6} TorchSharp");
        }
    }
    if (!(difference <= Agreement))
    {
        Console.Error.WriteLine($"error: the losses differ by {difference:E1} of their value; the two do not compute the same");
        return 1;
    }

    List<double> ours = [], theirs = [];
    using (var trainer = new Trainer(settings, dataset, sequences, device.Kernels, device.Workers))
    {
        trainer.BeginEpoch(1);
        using var peer = new PeerTrainer(settings, trainer, dataset, device.Kernels[0]);
        long tokens = Enumerable.Range(0, steps).Sum(step =>
        {
            var (first, count) = Batch(trainer, step);
            return trainer.EpochSequences.Skip(first).Take(count).Sum(sequence => (long)sequence.Length);
        });
        for (int round = -1; round < rounds; round++)
        {
            trainer.Step = 0;
            double our = Seconds(step => trainer.TrainStep(step.First, step.Count));
            double their = Seconds(step => peer.TrainStep(step.Number, step.First, step.Count));
            // The first round warms up.
            if (round < 0)
                continue;
            ours.Add(tokens / our);
            theirs.Add(tokens / their);
        }

        double Seconds(Action<(int Number, int First, int Count)> train)
        {
            long start = Stopwatch.GetTimestamp();
            for (int step = 0; step < steps; step++)
            {
                var (first, count) = Batch(trainer, step);
                train((step + 1, first, count));
            }
            return Stopwatch.GetElapsedTime(start).TotalSeconds;
        }
    }
    var ratios = ours.Zip(theirs, (our, their) => our / their).ToList();
    Console.WriteLine();
    Console.WriteLine("| events a second | median | least | most |");
    Console.WriteLine("|---|---:|---:|---:|");
    Row("Bert4Rec", ours, "N0");
    Row("TorchSharp", theirs, "N0");
    Row("ratio", ratios, "F1");
    return 0;

    (int First, int Count) Batch(Trainer trainer, int step)
    {
        int first = step * config.TrainBatchSize;
        return (first, Math.Min(config.TrainBatchSize, trainer.EpochSequences.Count - first));
    }

    static void Row(string name, List<double> values, string format)
    {
        var sorted = values.Order().ToList();
        Console.WriteLine(
            $"| {name} | {sorted[sorted.Count / 2].ToString(format)} | {sorted[0].ToString(format)} | {sorted[^1].ToString(format)} |");
    }
}
