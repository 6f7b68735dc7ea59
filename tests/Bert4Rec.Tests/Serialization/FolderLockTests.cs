using Bert4Rec.Serialization;
using Bert4Rec.Tests.Cli;

namespace Bert4Rec.Tests.Serialization;

public sealed class FolderLockTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bert4rec-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void A_second_run_is_refused_by_name_until_the_first_ends()
    {
        using (FolderLock.Take(_folder))
        {
            var error = Assert.Throws<InputException>(() => FolderLock.Take(_folder));
            Assert.StartsWith(_folder, error.Message, StringComparison.Ordinal);
        }

        FolderLock.Take(_folder).Dispose();
    }

    /// <summary>The lock of a file that another run has since deleted, and made again, is none.</summary>
    [Fact]
    public void A_file_that_took_the_name_of_the_open_one_is_another()
    {
        string path = Path.Combine(_folder, "f");
        using var file = new FileStream(path, FileMode.CreateNew);
        Assert.True(UnixFile.IsSame(file.SafeFileHandle, path));
        if (!OperatingSystem.IsLinux())
            return;
        File.Delete(path);
        Assert.False(UnixFile.IsSame(file.SafeFileHandle, path));
        File.WriteAllText(path, "");
        Assert.False(UnixFile.IsSame(file.SafeFileHandle, path));
    }

    [SkippableFact]
    public void A_link_in_the_place_of_the_lock_is_not_followed()
    {
        string link = Path.Combine(_folder, FolderLock.FileName), target = Path.Combine(_folder, "target");
        TestFiles.Link(link, target);
        Assert.StartsWith(link, Assert.Throws<InputException>(() => FolderLock.Take(_folder)).Message, StringComparison.Ordinal);
        Assert.False(File.Exists(target));
    }

    [Theory]
    [InlineData("synthesize", "--users", "20", "--items", "9", "--interactions", "80", "--name", "s")]
    [InlineData("convert", "none.csv", "--name", "s")]
    [InlineData("train", "--set", "dataset=s")]
    [InlineData("run", "--set", "dataset=s")]
    public void Every_command_that_writes_several_files_heeds_it(params string[] command)
    {
        using (FolderLock.Take(_folder))
        {
            CommandLine.Outcome outcome = CommandLine.Run([.. command, "--output", _folder]);
            Assert.Equal(1, outcome.ExitCode);
            Assert.StartsWith($"error: {_folder}: another run is writing there", outcome.Error);
        }
    }

    [Fact]
    public void A_lock_file_that_nobody_holds_is_no_obstacle()
    {
        File.WriteAllText(Path.Combine(_folder, FolderLock.FileName), "");

        FolderLock.Take(_folder).Dispose();
    }
}
