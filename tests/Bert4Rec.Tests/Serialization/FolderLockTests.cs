using Bert4Rec.Serialization;

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

    [Fact]
    public void A_lock_file_that_nobody_holds_is_no_obstacle()
    {
        File.WriteAllText(Path.Combine(_folder, FolderLock.FileName), "");

        FolderLock.Take(_folder).Dispose();
    }
}
