using Bert4Rec.Serialization;

namespace Bert4Rec.Tests.Serialization;

public sealed class OutputFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bert4rec-").FullName;

    private string FilePath => Path.Combine(_folder, "new", "x.txt");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Writes_and_replaces_and_leaves_nothing_else()
    {
        OutputFile.WriteText(FilePath, "a long first text");
        OutputFile.WriteText(FilePath, "ü");

        Assert.Equal("ü"u8.ToArray(), File.ReadAllBytes(FilePath));
        Assert.Equal([FilePath], Directory.GetFiles(Path.GetDirectoryName(FilePath)!));
    }

    [Fact]
    public void The_name_stands_for_the_old_content_until_the_new_is_whole()
    {
        OutputFile.WriteText(FilePath, "old");
        OutputFile.Write(FilePath, stream =>
        {
            stream.Write("half"u8);
            stream.Flush();
            Assert.Equal("old", File.ReadAllText(FilePath));
        });

        Assert.Equal("half", File.ReadAllText(FilePath));
    }

    [Fact]
    public void A_failed_write_keeps_the_old_content_and_cleans_up()
    {
        OutputFile.WriteText(FilePath, "old");

        Assert.Throws<InvalidDataException>(() => OutputFile.Write(FilePath, stream =>
        {
            stream.Write(new byte[100_000]);
            throw new InvalidDataException();
        }));

        Assert.Equal("old", File.ReadAllText(FilePath));
        Assert.Equal([FilePath], Directory.GetFiles(Path.GetDirectoryName(FilePath)!));
    }

    [Fact]
    public void What_a_killed_run_left_is_no_obstacle()
    {
        Directory.CreateDirectory(Path.GetDirectoryName(FilePath)!);
        string left = $"{FilePath}.{Path.GetRandomFileName()}.tmp", other = FilePath + ".tmp";
        File.WriteAllText(left, "something longer than the new text");
        File.WriteAllText(other, "somebody's");

        OutputFile.WriteText(FilePath, "new");

        Assert.Equal("new", File.ReadAllText(FilePath));
        Assert.False(File.Exists(left));
        Assert.Equal("somebody's", File.ReadAllText(other));
    }

    [Fact]
    public void A_second_writer_is_refused_by_name_and_the_first_goes_on()
    {
        OutputFile.Write(FilePath, stream =>
        {
            stream.Write("first"u8);
            var error = Assert.Throws<InputException>(() => OutputFile.WriteText(FilePath, "second"));
            Assert.Contains(FilePath, error.Message, StringComparison.Ordinal);
        });

        Assert.Equal("first", File.ReadAllText(FilePath));
    }

    [SkippableFact]
    public void A_link_stays_and_its_target_is_replaced()
    {
        OutputFile.WriteText(FilePath, "old");
        string link = Path.Combine(_folder, "link.txt");
        TestFiles.Link(link, FilePath);

        OutputFile.WriteText(link, "new");

        Assert.Equal(FilePath, new FileInfo(link).LinkTarget);
        Assert.Equal("new", File.ReadAllText(FilePath));
    }

    [SkippableFact]
    public void A_link_in_the_place_of_the_temporary_file_is_not_followed()
    {
        string other = Path.Combine(_folder, "other.txt");
        File.WriteAllText(other, "other");
        Directory.CreateDirectory(Path.GetDirectoryName(FilePath)!);
        TestFiles.Link($"{FilePath}.{Path.GetRandomFileName()}.tmp", other);

        OutputFile.WriteText(FilePath, "new");

        Assert.Equal("other", File.ReadAllText(other));
        Assert.Equal("new", File.ReadAllText(FilePath));
    }

    [Fact]
    public void A_device_is_written_into_and_stays_one()
    {
        if (!OperatingSystem.IsLinux())
            return;
        OutputFile.WriteText("/dev/null", "gone");

        Assert.True(UnixFile.IsSpecial("/dev/null"));
        Assert.False(UnixFile.IsSpecial(_folder));
    }
}
