using System.Diagnostics;
using Bert4Rec.Tests.Training;
using Xunit.Abstractions;

namespace Bert4Rec.Tests.Faults;

/// <summary>
/// A disk that is smaller than what a command writes: the command says that there is no room, leaves nothing half written, and ends as ever
/// when room is made. The disk is a tmpfs in a mount namespace of its own.
/// </summary>
public sealed class FullDiskTests(ITestOutputHelper report) : IDisposable
{
    private static readonly int s_sizes = Math.Max(1, Campaign.Cases / 100);

    private readonly SmallShop _shop = new();

    private string Disk => Path.Combine(_shop.Folder, "disk");

    private string Output => Path.Combine(Disk, "out");

    public void Dispose() => _shop.Dispose();

    [SkippableFact]
    public Task Train() => Fill(Campaign.Train(_shop, Output));

    [SkippableFact]
    public Task Run() => Fill(Campaign.Run(_shop, Output));

    [SkippableFact]
    public Task Clean() => Fill(["clean", Campaign.WriteLog(_shop), "--output", Path.Combine(Output, "c.csv")], "c.csv");

    [SkippableFact]
    public async Task Convert()
    {
        string cleaned = Path.Combine(_shop.Folder, "cleaned.csv");
        Assert.Equal((0, ""), await Campaign.Run("clean", Campaign.WriteLog(_shop), "--output", cleaned));
        await Fill(["convert", cleaned, "--output", Output, "--name", "d"], "d.inter");
    }

    [SkippableFact]
    public Task Analyze() => Fill(["analyze", Campaign.WriteLog(_shop), "--html", Path.Combine(Output, "a.html")], "a.html");

    /// <summary>A limit on the size of a file is no fault of the program's either.</summary>
    [SkippableFact]
    public async Task A_file_that_grows_too_large_is_said_to_be()
    {
        Skip.IfNot(OperatingSystem.IsLinux(), "the limit is set by bash");
        string cleaned = Path.Combine(_shop.Folder, "c.csv");
        string command = Quoted(["clean", Campaign.WriteLog(_shop), "--output", cleaned]);
        // .NET would make a large file of its own, of machine code.
        (int exit, string error) = await Shell($"export DOTNET_EnableWriteXorExecute=0; trap '' XFSZ; ulimit -f 1; {command} > /dev/null");
        Assert.True(exit == 1, error);
        Assert.Matches("^error: .*c.csv: larger than the file system, or a limit such as that of ulimit -f, allows a file to be$", error);
        Assert.Empty(Directory.GetFiles(_shop.Folder, "c.csv*"));
    }

    /// <param name="command">Writes into <see cref="Output"/>.</param>
    /// <param name="old">A file that is there before.</param>
    private async Task Fill(string[] command, string? old = null)
    {
        bool canMount = OperatingSystem.IsLinux() && (await Shell("unshare -m mount -t tmpfs tmpfs /mnt")).Exit == 0;
        Skip.IfNot(canMount, "only root can mount a small disk, on Linux");
        Directory.CreateDirectory(Disk);
        Assert.Equal((0, ""), await Campaign.Run(command));
        var whole = Campaign.Files(Output);
        int needed = whole.Values.Sum(content => (content.Length / 4096) + 1) * 4;
        Directory.Delete(Output, recursive: true);
        var random = new Random(Campaign.Seed);
        int full = 0;
        for (int i = 0; i < s_sizes; i++)
        {
            int size = 4 * random.Next(3, needed / 4);
            string which = $"{command[0]}, seed {Campaign.Seed}, {size} KB";
            string kept = Path.Combine(_shop.Folder, "kept");
            // What each part prints goes to a file of its own.
            (int exit, string error) = await Shell($"""
                mkdir {kept} {kept}/after
                cat > {kept}/script <<'END'
                mount -t tmpfs -o size={size}k tmpfs {Disk} && mkdir {Output} || exit 9
                {(old is null ? "" : $"printf old > {Output}/{old}")}
                {Quoted(command)} > /dev/null 2> {kept}/error
                echo $? > {kept}/exit
                (cd {Output} 2> /dev/null && find . -name '*.tmp' -o -name .lock) > {kept}/left
                {(old is null ? "" : $"cp {Output}/{old} {kept}/old")}
                mount -o remount,size=64m {Disk}
                if [ -e {Output}/checkpoint.safetensors ] && [ {command[0]} = train ]; then
                    {Quoted(Campaign.Resume(Output))} > /dev/null 2> {kept}/error2
                else
                    {Quoted(command)} > /dev/null 2> {kept}/error2
                fi
                echo $? > {kept}/exit2
                cp -a {Output}/. {kept}/after
                END
                unshare -m bash {kept}/script
                """);
            Assert.True(exit == 0, $"{which}: {error}");
            string first = Read("exit"), message = Read("error");
            if (first != "0")
            {
                full++;
                bool isClear = first == "1" && message.Split('\n').Length == 1 && message.StartsWith("error: No space left on device : '");
                Assert.True(isClear, $"{which}: {message}");
                Assert.True(Read("left").Length == 0, $"{which}: {Read("left")} is left");
                if (old is not null)
                    Assert.True(Read("old") == "old", $"{which}: {old} is not as it was");
            }
            Assert.True(Read("exit2") == "0", $"{which}: with more room: {Read("error2")}");
            string? difference = Campaign.Difference(whole, Path.Combine(kept, "after"));
            Assert.True(difference is null, $"{which}: with more room: {difference}");
            Directory.Delete(kept, recursive: true);

            string Read(string name) => File.ReadAllText(Path.Combine(kept, name)).TrimEnd();
        }
        report.WriteLine(
            $"{command[0]}: {s_sizes} small disks: {full} times full, nothing half written; with more room all with the same bytes "
            + $"(seed {Campaign.Seed})");
    }

    private static string Quoted(string[] command)
    {
        ProcessStartInfo start = Campaign.Command(command);
        return string.Join(' ', start.ArgumentList.Prepend(start.FileName).Select(word => $"'{word.Replace("'", @"'\''")}'"));
    }

    private static async Task<(int Exit, string Error)> Shell(string script)
    {
        using var process = Process.Start(Campaign.Start("bash", "-c", script))!;
        return await Campaign.End(process);
    }
}
