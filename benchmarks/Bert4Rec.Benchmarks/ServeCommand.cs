using System.Buffers.Text;
using System.CommandLine;
using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Bert4Rec.Cli;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Data;
using Bert4Rec.Inference;
using Bert4Rec.Model;
using Bert4Rec.Training;

namespace Bert4Rec.Benchmarks;

/// <summary>
/// <c>serve</c>: the server as a process of its own, and requests of single customers. First one connection, which shows what HTTP and JSON
/// cost without and with the model; then the load. With a rate, requests fall due by the clock, and the latency of each begins when it was
/// due: a server that stalls is not spared what it kept from being asked.
/// </summary>
internal static class ServeCommand
{
    private const int Histories = 5_000, WarmUpSeconds = 4, Rows = 10;

    /// <param name="At">Seconds after the beginning of the load when it was due.</param>
    /// <param name="Milliseconds">From then to its answer.</param>
    /// <param name="Status">Of the answer; 0 where there was none.</param>
    private readonly record struct Sample(double At, double Milliseconds, int Status);

    public static Command Create(Terminal terminal)
    {
        Option<int> items = CommonOptions.Count("--items", "Items of the catalogue.", 100, 45_000);
        Option<int> hidden = CommonOptions.Count("--hidden", "Hidden size.", 8, 64);
        Option<int> rate = CommonOptions.Count("--rate", "Requests a second; 0 for as many as the connections bring.", 0, 0);
        Option<int> connections = CommonOptions.Count("--connections", "Connections, each with one request at a time.", 1, 16);
        Option<int> seconds = CommonOptions.Count("--seconds", "Seconds of load.", 1, 20);
        Option<int> swaps = CommonOptions.Count("--swaps", "New models that take the old one's place meanwhile.", 0, 0);
        var command = new Command("serve", "Puts a load on the server.") { items, hidden, rate, connections, seconds, swaps };
        command.SetAction(parsed => Run(
            parsed.GetValue(items), parsed.GetValue(hidden), parsed.GetValue(rate), parsed.GetValue(connections), parsed.GetValue(seconds),
            parsed.GetValue(swaps), terminal));
        return command;
    }

    private static void Run(int items, int hidden, int rate, int connections, int seconds, int swaps, Terminal terminal)
    {
        using var shops = new Shops();
        var (config, dataset) = shops.Make(100_000, items, $"hidden_size={hidden}");
        var settings = TrainerSettings.Of(config, dataset.ItemCount);
        var layout = new ParameterLayout(settings.Shape);
        string[] models = [.. Enumerable.Range(0, 2).Select(seed =>
        {
            string folder = Directory.CreateDirectory(Path.Combine(shops.Folder, $"model{seed}")).FullName;
            ModelFolder.SaveData(folder, config, dataset);
            ModelFolder.SaveModel(folder, config, layout, ParameterInitializer.Draw(layout, settings.InitializerRange, (ulong)seed));
            return folder;
        })];
        string link = Path.Combine(shops.Folder, "current");
        Directory.CreateSymbolicLink(link, models[0]);
        using Process server = Process.Start(new ProcessStartInfo(
            "dotnet", [typeof(Application).Assembly.Location, "serve", "--model", link, "--urls", "http://127.0.0.1:0"])
        {
            RedirectStandardError = true,
        })!;
        try
        {
            string line = server.StandardError.ReadLine() ?? "";
            terminal.Error.WriteLine(line);
            _ = Task.Run(() =>
            {
                while (server.StandardError.ReadLine() is string next)
                    terminal.Error.WriteLine(next);
            });
            var address = new Uri(line.Split(' ')[1]);
            byte[][] recommendations = Recommendations(dataset), popular = [Post("{}")];
            byte[][] live = ["GET /healthz/live HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray()];
            Drive(address, recommendations, 0, 16, WarmUpSeconds);

            terminal.Out.WriteLine($"10 of {items:N0} items for histories of 1 to 50, hidden size {hidden}; milliseconds.");
            terminal.Out.WriteLine();
            terminal.Out.WriteLine("| one connection | p50 | p99 |");
            terminal.Out.WriteLine("|---|---:|---:|");
            foreach ((string name, byte[][] requests) in new[]
            {
                ("`/healthz/live`", live), ("the most popular items", popular), ("recommendations", recommendations),
            })
            {
                var samples = Drive(address, requests, 0, 1, 3);
                terminal.Out.WriteLine($"| {name} | {Percentile(samples, 0.5):F2} | {Percentile(samples, 0.99):F2} |");
            }

            double processor = Seconds(server), own = Seconds(Process.GetCurrentProcess());
            var memory = new List<long>();
            using var swapping = new CancellationTokenSource();
            Task switches = Switch(link, models, swaps, (double)seconds / (swaps + 1), swapping.Token);
            var clock = Stopwatch.StartNew();
            var all = Drive(address, recommendations, rate, connections, seconds, () =>
            {
                server.Refresh();
                memory.Add(server.WorkingSet64 >> 20);
            });
            double elapsed = clock.Elapsed.TotalSeconds;
            swapping.Cancel();
            switches.Wait();
            terminal.Out.WriteLine();
            terminal.Out.WriteLine(
                $"| {connections} connections, to second | answers/s | p50 | p99 | p99.9 | longest | 503 | failed | MiB |");
            terminal.Out.WriteLine("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
            for (int row = 0; row < Rows; row++)
            {
                double length = (double)seconds / Rows, from = row * length;
                Write($"{from + length:F0}", [.. all.Where(sample => sample.At >= from && sample.At < from + length)], length, memory[row]);
            }
            Write("all", all, Math.Max(elapsed, seconds), memory.Max());
            terminal.Out.WriteLine();
            terminal.Out.WriteLine(
                $"Cores busy of {Environment.ProcessorCount}: the server {(Seconds(server) - processor) / elapsed:F2}, "
                + $"the load {(Seconds(Process.GetCurrentProcess()) - own) / elapsed:F2}.");
            var after = Drive(address, recommendations, 0, 1, 2);
            terminal.Out.WriteLine($"After it, on one connection: p50 {Percentile(after, 0.5):F2}, p99 {Percentile(after, 0.99):F2}.");
        }
        finally
        {
            server.Kill();
            server.WaitForExit();
        }

        void Write(string name, List<Sample> samples, double length, long mebibytes)
        {
            int answers = samples.Count(sample => sample.Status == 200), refused = samples.Count(sample => sample.Status == 503);
            terminal.Out.WriteLine(
                $"| {name} | {answers / length:N0} | {Percentile(samples, 0.5):F2} | {Percentile(samples, 0.99):F2} "
                + $"| {Percentile(samples, 0.999):F2} | {Percentile(samples, 1):F1} | {refused:N0} "
                + $"| {samples.Count - answers - refused:N0} | {mebibytes} |");
        }
    }

    /// <summary>Puts a load on the server, and tells ten times how it went on.</summary>
    private static List<Sample> Drive(
        Uri address, byte[][] requests, int rate, int connections, int seconds, Action? onRow = null)
    {
        long start = Stopwatch.GetTimestamp();
        int next = -1;
        var all = new List<Sample>[connections];
        Thread[] threads = [.. all.Select((_, index) => new Thread(() =>
        {
            var samples = all[index] = [];
            byte[] buffer = new byte[1 << 18];
            Socket? socket = null;
            while (true)
            {
                int i = Interlocked.Increment(ref next);
                double now = Now(), due = rate == 0 ? now : (double)i / rate;
                if (due >= seconds)
                    break;
                SleepUntil(due);
                int status = Ask(ref socket, address, requests[i % requests.Length], buffer);
                samples.Add(new(due, (Now() - due) * 1e3, status));
            }
            socket?.Dispose();
        }))];
        foreach (Thread thread in threads)
            thread.Start();
        for (int row = 1; row <= Rows && onRow is not null; row++)
        {
            SleepUntil((double)row * seconds / Rows);
            onRow();
        }
        foreach (Thread thread in threads)
            thread.Join();
        return [.. all.SelectMany(samples => samples)];

        void SleepUntil(double due)
        {
            for (double now = Now(); now < due; now = Now())
                ThreadClock.Sleep(due - now);
        }

        double Now() => Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>Sends a request and reads its answer.</summary>
    /// <returns>The answer's status; 0 where there was none, and the connection is to be made anew.</returns>
    private static int Ask(ref Socket? socket, Uri address, byte[] request, byte[] buffer)
    {
        try
        {
            if (socket is null)
            {
                socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
                socket.Connect(address.Host, address.Port);
            }
            socket.Send(request);
            int length = 0;
            while (!IsWhole(buffer.AsSpan(0, length)))
            {
                int read = socket.Receive(buffer, length, buffer.Length - length, SocketFlags.None);
                if (read == 0)
                    throw new SocketException((int)SocketError.ConnectionReset);
                length += read;
            }
            return int.Parse(buffer.AsSpan("HTTP/1.1 ".Length, 3));
        }
        catch (SocketException)
        {
            socket?.Dispose();
            socket = null;
            return 0;
        }
    }

    private static bool IsWhole(ReadOnlySpan<byte> answer)
    {
        ReadOnlySpan<byte> name = "Content-Length: "u8;
        int end = answer.IndexOf("\r\n\r\n"u8), at = answer.IndexOf(name);
        return end >= 0 && Utf8Parser.TryParse(answer[(at + name.Length)..], out int length, out _) && answer.Length >= end + 4 + length;
    }

    private static byte[][] Recommendations(InteractionDataset dataset)
    {
        var random = new Random(1);
        return [.. Enumerable.Range(0, Histories).Select(_ => Post(JsonSerializer.Serialize(new
        {
            history = Enumerable.Range(0, random.Next(1, 51)).Select(_ => dataset.Items[random.Next(1, dataset.ItemCount)]),
        })))];
    }

    private static byte[] Post(string body) => Encoding.UTF8.GetBytes(
        $"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {body.Length}\r\n\r\n{body}");

    /// <summary>Lets the link lead to the other model, again and again.</summary>
    private static async Task Switch(string link, string[] models, int times, double seconds, CancellationToken cancellation)
    {
        for (int i = 1; i <= times; i++)
        {
            await Task.Delay(TimeSpan.FromSeconds(seconds), cancellation).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (cancellation.IsCancellationRequested)
                return;
            Directory.CreateSymbolicLink(link + ".new", models[i % 2]);
            using Process rename = Process.Start("mv", ["-T", link + ".new", link]);
            await rename.WaitForExitAsync(CancellationToken.None);
        }
    }

    private static double Seconds(Process process)
    {
        process.Refresh();
        return process.TotalProcessorTime.TotalSeconds;
    }

    private static double Percentile(List<Sample> samples, double share)
    {
        double[] sorted = [.. samples.Where(sample => sample.Status != 0).Select(sample => sample.Milliseconds).Order()];
        return sorted.Length == 0 ? double.NaN : sorted[(int)((sorted.Length - 1) * share)];
    }
}
